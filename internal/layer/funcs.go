package layer

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
)

// The functions a template may use. Each gives what consul-template's
// function of that name gives; what is missing here is refused: anything that
// reaches files, the network, the clock, other systems or plug-ins. shquote is
// envctl's own.

// refusedFunctions exist in Vault Agent and are refused here.
func refusedFunctions() []string {
	return []string{
		"add", "byKey", "byMeta", "byPort", "byTag", "caLeaf", "caRoots", "call", "connect", "datacenters", "divide",
		"executeTemplate", "explode", "exportedServices", "file", "key", "keyExists", "keyOrDefault", "loop", "ls", "maximum",
		"md5sum", "mergeMap", "mergeMapWithOverride", "minimum", "modulo", "multiply", "node", "nodes", "nomadService",
		"nomadServices", "nomadVar", "nomadVarExists", "nomadVarList", "nomadVarListSafe", "parseYAML", "partitions", "peerings",
		"pkiCert", "plugin", "safeLs", "safeTree", "scratch", "secrets", "service", "services", "sockaddr", "spew_dump",
		"spew_printf", "spew_sdump", "spew_sprintf", "subtract", "timestamp", "toTOML", "toTitle", "toYAML", "tree", "writeToFile",
	}
}

// boundFunctions are text/template's own that are used as they are, and those
// that are bound to one rendering.
func boundFunctions() []string {
	return []string{
		"and", "break", "continue", "eq", "ge", "gt", "index", "le", "len", "lt", "ne", "not", "or", "slice",
		"env", "envOrDefault", "html", "js", "mustEnv", "print", "printf", "println", "secret", "urlquery",
	}
}

// maxText is the longest text that an expression may make, in bytes.
const maxText = 4 << 20

var errTooLong = errors.New("the text grows beyond every bound")

func pureFunctions() map[string]any {
	return map[string]any{
		"base64Decode": func(s string) (string, error) {
			b, err := base64.StdEncoding.DecodeString(s)
			return string(b), plainError(err, "base64Decode: not base64")
		},
		"base64Encode": func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		"base64URLDecode": func(s string) (string, error) {
			b, err := base64.URLEncoding.DecodeString(s)
			return string(b), plainError(err, "base64URLDecode: not base64")
		},
		"base64URLEncode": func(s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) },
		"contains":        func(v, l any) bool { return in(l, v) },
		"containsAll":     containsSome(true, true),
		"containsAny":     containsSome(false, false),
		"containsNone":    containsSome(true, false),
		"containsNotAll":  containsSome(false, true),
		"explodeMap":      explodeMap,
		"hmacSHA256Hex": func(message, key string) string {
			h := hmac.New(sha256.New, []byte(key))
			h.Write([]byte(message))
			return hex.EncodeToString(h.Sum(nil))
		},
		"in":     in,
		"indent": indent,
		"join": func(sep string, a []string) (string, error) {
			n := len(sep) * len(a)
			for _, s := range a {
				n += len(s)
			}
			if n > maxText {
				return "", errTooLong
			}
			return strings.Join(a, sep), nil
		},
		"parseBool": func(s string) (bool, error) {
			if s == "" {
				return false, nil
			}
			v, err := strconv.ParseBool(s)
			return v, plainError(err, "parseBool: not a boolean")
		},
		"parseFloat": func(s string) (float64, error) {
			if s == "" {
				return 0, nil
			}
			v, err := strconv.ParseFloat(s, 64)
			return v, plainError(err, "parseFloat: not a number")
		},
		"parseInt": func(s string) (int64, error) {
			if s == "" {
				return 0, nil
			}
			v, err := strconv.ParseInt(s, 10, 64)
			return v, plainError(err, "parseInt: not a whole number")
		},
		"parseJSON": func(s string) (any, error) {
			if s == "" {
				return map[string]any{}, nil
			}
			var v any
			err := json.Unmarshal([]byte(s), &v)
			return v, plainError(err, "parseJSON: not JSON")
		},
		"parseUint": func(s string) (uint64, error) {
			if s == "" {
				return 0, nil
			}
			v, err := strconv.ParseUint(s, 10, 64)
			return v, plainError(err, "parseUint: not a whole number")
		},
		"regexMatch": func(re, s string) (bool, error) {
			r, err := regexp.Compile(re)
			if err != nil {
				return false, errors.New("regexMatch: not a regular expression")
			}
			return r.MatchString(s), nil
		},
		"regexReplaceAll": func(re, to, s string) (string, error) {
			r, err := regexp.Compile(re)
			if err != nil {
				return "", errors.New("regexReplaceAll: not a regular expression")
			}
			if len(s)+(len(s)+1)*len(to)+len(s)*strings.Count(to, "$") > 16*maxText {
				return "", errTooLong
			}
			return r.ReplaceAllString(s, to), nil
		},
		"replaceAll": func(from, to, s string) (string, error) {
			if len(s)+strings.Count(s, from)*len(to) > 2*maxText {
				return "", errTooLong
			}
			return strings.ReplaceAll(s, from, to), nil
		},
		"sha256Hex": func(s string) string {
			sum := sha256.Sum256([]byte(s))
			return hex.EncodeToString(sum[:])
		},
		"shquote": shquote,
		"split": func(sep, s string) []string {
			if s = strings.TrimSpace(s); s == "" {
				return []string{}
			}
			return strings.Split(s, sep)
		},
		"splitToMap": func(sep1, sep2, s string) map[string]string {
			m := map[string]string{}
			if s = strings.TrimSpace(s); s == "" {
				return m
			}
			for _, item := range strings.Split(s, sep1) {
				if k, v, ok := strings.Cut(item, sep2); ok {
					m[k] = v
				}
			}
			return m
		},
		"toJSON": func(v any) (string, error) {
			b, err := json.Marshal(v)
			return string(bytes.TrimSpace(b)), plainError(err, "toJSON: no JSON form")
		},
		"toJSONPretty": func(v any) (string, error) {
			b, err := json.MarshalIndent(v, "", "  ")
			return string(bytes.TrimSpace(b)), plainError(err, "toJSONPretty: no JSON form")
		},
		"toLower":               strings.ToLower,
		"toUnescapedJSON":       toUnescapedJSON,
		"toUnescapedJSONPretty": func(v any) (string, error) { return unescapedJSON(v, "  ") },
		"toUpper":               strings.ToUpper,
		"trim":                  func(cutset, s string) string { return strings.Trim(s, cutset) },
		"trimPrefix":            func(prefix, s string) string { return strings.TrimPrefix(s, prefix) },
		"trimSpace":             strings.TrimSpace,
		"trimSuffix":            func(suffix, s string) string { return strings.TrimSuffix(s, suffix) },
	}
}

// growing are the builtins that make text, wrapped to be bounded.
func growing() map[string]any {
	return map[string]any{
		"html":     template.HTMLEscaper,
		"js":       template.JSEscaper,
		"print":    fmt.Sprint,
		"println":  fmt.Sprintln,
		"urlquery": template.URLQueryEscaper,
	}
}

// plainError replaces an error whose text would quote its input.
func plainError(err error, message string) error {
	if err == nil {
		return nil
	}
	return errors.New(message)
}

// shquote quotes s for a POSIX shell: whatever s is, the shell reads s.
func shquote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func toUnescapedJSON(v any) (string, error) { return unescapedJSON(v, "") }

func unescapedJSON(v any, indent string) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		return "", errors.New("no JSON form")
	}
	return strings.TrimRight(b.String(), "\r\n"), nil
}

func indent(spaces int, s string) (string, error) {
	if spaces < 0 {
		return "", errors.New("indent: a negative number of blanks")
	}
	if spaces > maxText || len(s)+spaces*(1+strings.Count(s, "\n")) > 2*maxText {
		return "", errTooLong
	}
	prefix := strings.Repeat(" ", spaces)
	var b strings.Builder
	for _, line := range strings.SplitAfter(s, "\n") {
		if line != "" && line != "\n" {
			b.WriteString(prefix)
		}
		b.WriteString(line)
	}
	return b.String(), nil
}

// in tells whether l, a list or a text, holds v.
func in(l, v any) bool {
	list, item := reflect.ValueOf(l), reflect.ValueOf(v)
	if list.Kind() == reflect.String {
		return item.IsValid() && item.Type() == list.Type() && strings.Contains(list.String(), item.String())
	}
	if list.Kind() != reflect.Array && list.Kind() != reflect.Slice {
		return false
	}
	for i := range list.Len() {
		if same(list.Index(i), item) {
			return true
		}
	}
	return false
}

func same(x, v reflect.Value) bool {
	if x.Kind() == reflect.Interface {
		x = x.Elem()
	}
	if !x.IsValid() || !v.IsValid() {
		return false
	}
	switch {
	case x.CanInt():
		return v.CanInt() && x.Int() == v.Int()
	case x.CanFloat():
		return v.CanFloat() && x.Float() == v.Float()
	case x.Kind() == reflect.String:
		return v.Type() == x.Type() && x.String() == v.String()
	}
	return false
}

func containsSome(whenAll, invert bool) func([]any, any) bool {
	return func(items []any, l any) bool {
		for _, v := range items {
			if in(l, v) != invert {
				return !whenAll
			}
		}
		return whenAll
	}
}

// explodeMap turns keys with / into nested maps.
func explodeMap(m map[string]any) (map[string]any, error) {
	out := map[string]any{}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		at, parts := out, strings.Split(k, "/")
		for _, p := range parts[:len(parts)-1] {
			if at[p] == nil {
				at[p] = map[string]any{}
			}
			next, ok := at[p].(map[string]any)
			if !ok {
				return nil, errors.New("explodeMap: a key is both a value and a folder")
			}
			at = next
		}
		if last := parts[len(parts)-1]; last != "" {
			at[last] = m[k]
		}
	}
	return out, nil
}

// counted returns fn with the renderer's bounds around it, and its own error as
// the cause.
func (r *renderer) counted(name string, fn any) any {
	v := reflect.ValueOf(fn)
	t := v.Type()
	in, out := make([]reflect.Type, t.NumIn()), t.Out(0)
	for i := range in {
		in[i] = t.In(i)
	}
	failure := reflect.TypeFor[error]()
	wrapped := reflect.FuncOf(in, []reflect.Type{out, failure}, t.IsVariadic())
	return reflect.MakeFunc(wrapped, func(args []reflect.Value) []reflect.Value {
		res := v.Call(args)
		var err error
		if len(res) == 2 && !res[1].IsNil() {
			err = res[1].Interface().(error)
			r.cause = err
		}
		if err == nil {
			n := 1
			if res[0].Kind() == reflect.String {
				n += res[0].Len()
				if strings.HasPrefix(name, "to") && len(args) == 1 && args[0].Kind() == reflect.Interface && args[0].IsNil() {
					r.anomaly(res[0].String())
				}
			}
			err = r.step(n)
		}
		e := reflect.Zero(failure)
		if err != nil {
			e = reflect.ValueOf(err)
		}
		return []reflect.Value{res[0], e}
	}).Interface()
}
