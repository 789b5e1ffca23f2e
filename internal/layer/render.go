package layer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"
	"time"

	"golang.org/x/sync/errgroup"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers/dotenv"
)

// SecretData is one version of a store path as a template sees it.
type SecretData struct {
	Values map[string]secret.Value
	// NonString lists the keys whose Value is the JSON text of something that is
	// not a string: a template sees a number as a number.
	NonString []string
	Version   int
	Created   time.Time
}

// RenderInput is what a template is rendered with.
type RenderInput struct {
	Env map[string]string // all that env "NAME" sees
	// Secret reads a path as the template writes it (secret/data/ledger/production/app;
	// a ?version=N is part of it). It is called once a path, several at once.
	Secret func(ctx context.Context, path string) (SecretData, error)
	// Local says that Secret answers from memory, with values that are nobody's: nothing
	// is won by foreseeing what will be asked, and nothing is to be masked.
	Local bool
	// Reader is who reads the text; "" is dotenv.Sh.
	Reader dotenv.Dialect
	// Required names the variables that must not be empty.
	Required []string
}

// Rendered is what a template gives.
type Rendered struct {
	Text secret.Value // byte for byte what Vault Agent would write
	// Masked is Text with [secret] in place of everything that an expression
	// wrote, but for the environment's own names; "" when the input was Local.
	Masked string
	// Variables are the assignments in Text as its reader reads them, in order.
	Variables []RenderedVariable
	Paths     []string // the store paths that were read, sorted
	Problems  []Problem
}

// RenderedVariable is one assignment of the rendered text.
type RenderedVariable struct {
	Name     string
	Value    secret.Value
	Line     int // in the template
	TextLine int // in the text
}

// Bounds of a rendering: what text/template itself does not limit.
const (
	maxOutput  = 16 << 20
	maxSteps   = 300_000
	maxWork    = 256 << 20 // bytes that functions make
	maxFetches = 8         // at once
)

var (
	errSteps  = errors.New("it does not come to an end")
	errOutput = errors.New("the text grows beyond every bound")
)

// Render executes t as Vault Agent would: the same engine, the same functions,
// limited to the allow-list, pass after pass until no secret is missing, all
// paths that can be foreseen read at once. An error of Secret keeps its
// kind; a template that Vault Agent could not execute is Invalid. A missing
// value is not an error, as in Vault Agent: it is in the text, and in Problems.
func Render(ctx context.Context, t *Template, in RenderInput) (Rendered, error) {
	r := newRenderer(ctx, t, in)
	known := map[string]*secretResult{}
	fetched := known
	for pass := 0; ; pass++ {
		out, missing, err := r.execute(known)
		switch {
		case err != nil && len(missing) > 0 && r.cause == nil:
			f := fault.Wrap(r.failure(err), fault.Invalid, "",
				"Vault Agent runs a template before it has its secrets, and stops on an error then: put this inside {{ with secret … }}")
			return Rendered{}, f
		case err != nil:
			return Rendered{}, r.failure(err)
		case len(missing) == 0:
			return r.result(known, out), nil
		case pass > MaxDepth:
			return Rendered{}, fault.New(fault.Invalid, "render "+t.File, "each secret leads to another one", "")
		case pass == 0:
			var paths []string
			if !in.Local {
				paths = r.reached()
			}
			for _, p := range missing {
				if !slices.Contains(paths, p) {
					paths = append(paths, p)
				}
			}
			fetched, err = r.fetchAll(ctx, paths)
		default:
			var more map[string]*secretResult
			more, err = r.fetchAll(ctx, slices.DeleteFunc(slices.Clone(missing), func(p string) bool { return fetched[p] != nil }))
			maps.Copy(fetched, more)
		}
		if err != nil {
			return Rendered{}, err
		}
		for _, p := range missing {
			known[p] = fetched[p]
		}
	}
}

func (r *renderer) result(known map[string]*secretResult, out string) Rendered {
	res := Rendered{Text: secret.New(out), Paths: slices.Sorted(maps.Keys(known))}
	c := newChecker(r, out)
	res.Variables, res.Problems = c.variables, c.problems
	if !r.in.Local {
		res.Masked = r.masked(out)
	}
	return res
}

// secretResult has the fields of consul-template's Secret that a KV read fills.
type secretResult struct {
	LeaseID       string
	LeaseDuration int
	Renewable     bool
	Data          map[string]any
}

// segment is a stretch of the output and the node that wrote it.
type segment struct {
	offset int
	pos    int
	text   bool // it is the template's own text from pos on
}

// anomaly is what a function made of a missing value.
type anomaly struct {
	segment int
	text    string
}

// anomaly notes such a text; a template in a loop makes no more than a thousand.
func (r *renderer) anomaly(text string) {
	if len(r.anomalies) < 1000 {
		r.anomalies = append(r.anomalies, anomaly{len(r.segments) - 1, text})
	}
}

type renderer struct {
	ctx  context.Context
	t    *Template
	in   RenderInput
	root *template.Template

	// Of one pass:
	secrets map[string]*secretResult
	dry     bool     // every secret is there and empty
	missing []string // paths asked for that secrets lacks, in order

	out       bytes.Buffer
	segments  []segment
	steps     int
	work      int
	anomalies []anomaly
	cause     error // what a function of ours failed with
}

func newRenderer(ctx context.Context, t *Template, in RenderInput) *renderer {
	r := &renderer{ctx: ctx, t: t, in: in}
	r.root = template.New("template").Funcs(r.functions()).Option("missingkey=zero")
	for _, name := range slices.Sorted(maps.Keys(t.trees)) {
		// Only a name used twice is refused, and these are a map's keys.
		r.root = template.Must(r.root.AddParseTree(name, t.trees[name]))
	}
	return r
}

// execute runs the template once with the secrets that are known and returns
// the others that it asked for.
func (r *renderer) execute(known map[string]*secretResult) (string, []string, error) {
	r.secrets, r.missing, r.segments, r.anomalies, r.cause = known, nil, r.segments[:0], nil, nil
	r.steps, r.work = 0, 0
	r.out.Reset()
	err := r.root.ExecuteTemplate(r, "template", nil)
	return r.out.String(), r.missing, err
}

// reached returns the paths that a rendering reads for certain, in order:
// those it meets while every secret is there and empty.
func (r *renderer) reached() []string {
	r.dry = true
	// This may well fail for want of a value: the real passes say so.
	_, paths, _ := r.execute(nil)
	r.dry = false
	return paths
}

func cleanPath(s string) string { return strings.Trim(strings.TrimSpace(s), "/") }

func (r *renderer) fetchAll(ctx context.Context, paths []string) (map[string]*secretResult, error) {
	if r.in.Local { // a goroutine would only cost
		all := make(map[string]*secretResult, len(paths))
		for _, p := range paths {
			var err error
			if all[p], err = r.fetch(ctx, p); err != nil {
				return nil, err
			}
		}
		return all, nil
	}
	results := make([]*secretResult, len(paths))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxFetches)
	for i, p := range paths {
		g.Go(func() (err error) {
			results[i], err = r.fetch(ctx, p)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	all := make(map[string]*secretResult, len(paths))
	for i, p := range paths {
		all[p] = results[i]
	}
	return all, nil
}

func (r *renderer) fetch(ctx context.Context, path string) (*secretResult, error) {
	d, err := r.in.Secret(ctx, path)
	if err != nil {
		return nil, err
	}
	values := make(map[string]any, len(d.Values))
	for k, v := range d.Values {
		values[k] = v.Reveal()
	}
	for _, k := range d.NonString {
		dec := json.NewDecoder(strings.NewReader(d.Values[k].Reveal()))
		dec.UseNumber()
		var v any
		if err := dec.Decode(&v); err != nil {
			return nil, fault.New(fault.Invalid, "read "+path, "the value of "+k+" is not JSON", "")
		}
		values[k] = v
	}
	return &secretResult{Data: map[string]any{"data": values, "metadata": map[string]any{
		"created_time": d.Created.UTC().Format(time.RFC3339Nano), "custom_metadata": nil, "deletion_time": "", "destroyed": false,
		"version": json.Number(fmt.Sprint(d.Version)),
	}}}, nil
}

func (r *renderer) secret(args ...string) (any, error) {
	if len(args) == 0 {
		return nil, nil
	}
	path := cleanPath(args[0])
	if path == "" {
		return nil, errors.New("secret: an empty path")
	}
	if s := r.secrets[path]; s != nil {
		return s, nil
	}
	if !slices.Contains(r.missing, path) {
		r.missing = append(r.missing, path)
	}
	if r.dry {
		return &secretResult{Data: map[string]any{"data": map[string]any{}, "metadata": map[string]any{}}}, nil
	}
	return nil, nil
}

// Write takes the template's output, up to maxOutput, and the marks in it.
func (r *renderer) Write(p []byte) (int, error) {
	if pos, ok := r.t.own(p); ok {
		r.segments = append(r.segments, segment{r.out.Len(), pos, len(p) > 0})
		if err := r.step(1); err != nil || len(p) == 0 {
			return 0, err
		}
	}
	if r.out.Len()+len(p) > maxOutput {
		r.cause = errOutput
		return 0, errOutput
	}
	return r.out.Write(p)
}

// step counts one unit of work of n bytes.
func (r *renderer) step(n int) error {
	r.steps++
	r.work += n
	switch {
	case r.steps > maxSteps || r.work > maxWork:
		r.cause = errSteps
	case n > maxText:
		r.cause = errTooLong
	case r.steps%1024 == 0 && r.ctx.Err() != nil:
		r.cause = r.ctx.Err()
	default:
		return nil
	}
	return r.cause
}

func (r *renderer) functions() template.FuncMap {
	f := template.FuncMap{
		"env": func(name string) string { return r.in.Env[name] },
		"envOrDefault": func(name, def string) string {
			if v, ok := r.in.Env[name]; ok {
				return v
			}
			return def
		},
		"mustEnv": func(name string) (string, error) {
			if v := r.in.Env[name]; v != "" {
				return v, nil
			}
			r.cause = fmt.Errorf("mustEnv: %s is empty", name)
			return "", r.cause
		},
		"printf": func(format string, args ...any) (string, error) {
			n := len(format)
			for _, a := range args {
				if s, ok := a.(string); ok {
					n += len(s)
				}
			}
			if err := r.step(n); err != nil {
				return "", err
			}
			s := fmt.Sprintf(format, args...)
			r.suspect(s, format, args)
			return s, r.step(len(s))
		},
		"secret": func(args ...string) (any, error) {
			v, err := r.secret(args...)
			if err != nil {
				r.cause = err
			}
			return v, err
		},
	}
	for name, fn := range growing() {
		f[name] = r.bounded(fn.(func(...any) string), name)
	}
	for name, fn := range r.t.pure {
		f[name] = r.counted(name, fn)
	}
	return f
}

func (r *renderer) bounded(fn func(...any) string, name string) func(...any) (string, error) {
	return func(args ...any) (string, error) {
		s := fn(args...)
		if strings.HasPrefix(name, "print") && slices.Contains(args, nil) {
			r.anomaly(strings.TrimSpace(s))
		}
		return s, r.step(len(s))
	}
}

// suspect notes a text in which printf complains about a missing or wrong value.
func (r *renderer) suspect(s, format string, args []any) {
	if !strings.Contains(s, "%!") {
		return
	}
	if !slices.Contains(args, nil) && (strings.Contains(format, "%!") || strings.Contains(fmt.Sprint(args...), "%!")) {
		return // the value itself has a %!
	}
	r.anomaly(s)
}

// failure turns an error of the engine into one without values.
func (r *renderer) failure(err error) error {
	line := 0
	if n := len(r.segments); n > 0 {
		line, _ = r.t.lines.at(r.segments[n-1].pos)
	}
	op := fmt.Sprintf("render %s:%d", r.t.File, line)
	if r.cause != nil {
		var f *fault.Error
		if errors.As(r.cause, &f) {
			return r.cause
		}
		kind := fault.Invalid
		if errors.Is(r.cause, context.Canceled) || errors.Is(r.cause, context.DeadlineExceeded) {
			kind = fault.KindOf(r.cause)
		}
		return fault.New(kind, op, r.cause.Error(), "")
	}
	message := "the expression cannot be evaluated"
	var x template.ExecError
	if errors.As(err, &x) {
		if m := engineMessage(x.Err.Error()); r.harmless(m) {
			message = m
		}
	}
	return fault.New(fault.Invalid, op, message, "")
}

// engineMessage takes the place off an engine's message: ours names it.
func engineMessage(s string) string {
	if i := strings.Index(s, ">: "); i >= 0 && strings.HasPrefix(s, "template: ") {
		return s[i+3:]
	}
	return s
}

// harmless tells whether no value of the secrets is in s.
func (r *renderer) harmless(s string) bool {
	for _, x := range r.secrets {
		values, _ := x.Data["data"].(map[string]any)
		for _, v := range values {
			if t := fmt.Sprint(v); t != "" && strings.Contains(s, t) {
				return false
			}
		}
	}
	return true
}
