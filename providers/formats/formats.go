// Package formats writes an environment's variables the way other programs
// read them and reads such files back: what it writes is read back equal, or it
// is refused.
package formats

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers/dotenv"
)

// MaxSize is the largest file that is read, in bytes; MaxDepth the deepest
// nesting in one.
const (
	MaxSize  = 1 << 20
	MaxDepth = 20
)

// Format is a way to write variables.
type Format string

// The formats.
const (
	Compose Format = "compose" // a compose file: services.NAME.environment
	Dotenv  Format = "dotenv"
	Helm    Format = "helm"  // a chart's values: a map, env unless At says otherwise
	INI     Format = "ini"   // sections of lower-case keys, as Python's configparser reads them
	JSON    Format = "json"  // one object of strings
	K8s     Format = "k8s"   // a Kubernetes Secret
	Shell   Format = "shell" // export NAME='value', for a POSIX shell
	YAML    Format = "yaml"  // one map of strings
)

// All returns every format, sorted.
func All() []Format { return []Format{Compose, Dotenv, Helm, INI, JSON, K8s, Shell, YAML} }

// Parse returns the format of that name; kind Usage for another.
func Parse(name string) (Format, error) {
	if f := Format(name); slices.Contains(All(), f) {
		return f, nil
	}
	return "", fault.Newf(fault.Usage, "choose format "+name, "formats: "+Names(), "no such format")
}

// Names returns the formats' names for people.
func Names() string {
	names := make([]string, 0, len(All()))
	for _, f := range All() {
		names = append(names, string(f))
	}
	return strings.Join(names, ", ")
}

// Guess tells a file's format by its name, and where that says only YAML or JSON, by
// what stands in it. What has no telling name is dotenv.
func Guess(file string, src []byte) Format {
	base := strings.ToLower(filepath.Base(file))
	switch filepath.Ext(base) {
	case ".json":
		if bytes.Contains(src, []byte(`"apiVersion"`)) && len(src) <= MaxSize && (&tree{file: base}).isManifest(src) {
			return K8s
		}
		return JSON
	case ".ini", ".cfg":
		return INI
	case ".sh", ".bash":
		return Shell
	case ".yaml", ".yml":
		return guessYAML(base, src)
	}
	return Dotenv
}

// Item is one variable of a file.
type Item struct {
	Key   string
	Value secret.Value // unset where Why says that there is none
	Line  int          // from 1
	// Why says why the value cannot be taken as it stands; "" when it can. It
	// never holds the value.
	Why string
}

// ReadOptions choose the part of a file that is read.
type ReadOptions struct {
	// At is a dotted path into a JSON, YAML or Helm file (env when empty, for Helm),
	// the service of a compose file, the section of an INI file, or the name of a
	// Kubernetes Secret. "" is all of it.
	At string
}

// Read returns the variables of a file, in its order. A file that is no such
// document, or larger or deeper than the bounds, is Invalid with its line; a part
// that is not there is Usage and the hint names those that are.
func Read(f Format, file string, src []byte, o ReadOptions) ([]Item, error) {
	if len(src) > MaxSize {
		return nil, fault.Newf(fault.Invalid, "read "+file, "", "larger than %d bytes", MaxSize)
	}
	if f != Dotenv && !utf8.Valid(src) {
		return nil, fault.New(fault.Invalid, "read "+file, "not UTF-8", "save the file as UTF-8")
	}
	if f != Dotenv { // its own reader knows the mark
		src = bytes.TrimPrefix(src, []byte("\uFEFF"))
	}
	switch f {
	case Compose:
		return readCompose(file, src, o.At)
	case Dotenv:
		return readDotenv(file, src)
	case Helm:
		at := o.At
		if at == "" {
			at = "env"
		}
		return readYAML(file, src, at, helmRules)
	case INI:
		return readINI(file, src, o.At)
	case JSON:
		return readJSON(file, src, o.At)
	case K8s:
		return readKubernetes(file, src, o.At)
	case Shell:
		return readShell(file, src)
	case YAML:
		return readYAML(file, src, o.At, yamlRules)
	}
	return nil, fault.Newf(fault.Internal, "read "+file, "", "no such format %q", string(f))
}

// WriteOptions shape what is written.
type WriteOptions struct {
	// Readers are the programs that will read a dotenv file; none: all but Dokploy.
	Readers []dotenv.Dialect
	// At is the dotted path of the map in a Helm file; "" is env.
	At string
	// Services get the variables in a compose file.
	Services []string
	// Sections of an INI file: FACEBOOK_KEY goes to key of [facebook] where
	// facebook is one of them; what fits none goes to [main].
	Sections []string
	// Name is the name of a Kubernetes Secret.
	Name string
}

// Write returns the variables as a file of that format, sorted by name, and has
// read it back: each value equal, nothing besides. A variable that the format's
// reader would not read back is Refused, by name, with what to do instead.
func Write(f Format, values map[string]secret.Value, o WriteOptions) (secret.Value, error) {
	var text string
	var err error
	back := ReadOptions{}
	switch f {
	case Compose:
		text, err = writeCompose(values, o.Services)
	case Dotenv:
		return writeDotenv(values, o.Readers)
	case Helm:
		back.At = o.At
		text, err = writeHelm(values, o.At)
	case INI:
		text, err = writeINI(values, o.Sections)
	case JSON:
		text = writeJSON(values)
	case K8s:
		text, err = writeKubernetes(values, o.Name)
	case Shell:
		return writeShell(values)
	case YAML:
		text = writeYAML(values, 0)
	default:
		return secret.Value{}, fault.Newf(fault.Internal, "write", "", "no such format %q", string(f))
	}
	if err != nil {
		return secret.Value{}, err
	}
	items, err := Read(f, "the "+string(f)+" text", []byte(text), back)
	if err != nil {
		return secret.Value{}, fault.Wrap(err, fault.Refused, "write "+string(f), "choose another --format")
	}
	got := map[string]secret.Value{}
	for _, i := range items {
		if i.Why != "" {
			return secret.Value{}, refused(f, i.Key, i.Why)
		}
		got[i.Key] = i.Value
	}
	return secret.New(text), equal(f, values, got)
}

// equal refuses a text that is read back as something else.
func equal(f Format, want, got map[string]secret.Value) error {
	for _, k := range sorted(want) {
		if !got[k].IsSet() || !got[k].Equal(want[k]) {
			return refused(f, k, "its reader would read another value")
		}
	}
	for _, k := range sorted(got) {
		if !want[k].IsSet() {
			return refused(f, k, "its reader would read a variable that is not there")
		}
	}
	return nil
}

func refused(f Format, key, why string) error {
	return fault.Newf(fault.Refused, fmt.Sprintf("write %s as %s", key, f), "use another --format: json and k8s take every text", "%s", why)
}

func sorted[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

func invalid(file string, line int, hint, format string, args ...any) error {
	where := file
	if line > 0 {
		where = fmt.Sprintf("%s:%d", file, line)
	}
	return fault.Newf(fault.Invalid, "read "+where, hint, format, args...)
}

// isName tells whether s can be a variable's name in a shell.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
