package check

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"envctl/internal/fault"
	"envctl/internal/layer"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers/dotenv"
)

// maxBundleFile is the largest file of a bundle that is searched, in bytes.
const maxBundleFile = 64 << 20

// bundleFile tells which files of a bundle a browser gets, or a page is made of.
func bundleFile(name string) bool {
	return slices.Contains([]string{".body", ".cjs", ".css", ".htm", ".html", ".js", ".json", ".mjs", ".rsc", ".txt", ".webmanifest", ".xml"}, path.Ext(name))
}

// sought is one variable that a bundle must hold.
type sought struct {
	c     *component
	e     *layer.ExampleEntry
	env   string       // "" when only placeholders are looked for
	value secret.Value // unset when the environment has none, or none that can be told from other text
	found bool
	left  *regexp.Regexp // a name that the build did not replace
	told  map[string]bool
}

// checkBundle searches a bundle for the variables that a build takes in: the
// value of the environment must be there, and no placeholder in its stead.
func (p *project) checkBundle(dir string, s *shelf) error {
	var all []*sought
	for _, c := range p.components {
		if c.example == nil {
			continue
		}
		for i := range c.example.Entries {
			e := &c.example.Entries[i]
			if !isPublic(e.Name) || e.Commented || slices.ContainsFunc(all, func(o *sought) bool { return o.c == c && o.e.Name == e.Name }) {
				continue
			}
			w := &sought{c: c, e: e, told: map[string]bool{}, left: regexp.MustCompile(
				`(?:process|import\.meta)\.env\.` + e.Name + `\b|(?:__|%%?|\$\{?|\{\{ ?|<)` + e.Name + `(?:__|%%?|\}\}?| \}\}|>)|["'` + "`" + `](?:[A-Z0-9]+_)+` + e.Name + `["'` + "`" + `]`)}
			if s != nil {
				w.env = s.live.Environment.Name
				w.value = c.publicValue(s, e.Name)
			}
			all = append(all, w)
		}
	}
	if len(all) == 0 {
		p.notes = append(p.notes, "no example declares a NEXT_PUBLIC_ variable: nothing was looked for in the bundle")
		return nil
	}
	if err := p.searchBundle(dir, all); err != nil {
		return err
	}
	for _, w := range all {
		if w.value.IsSet() && !w.found {
			w.c.add(Finding{
				Rule: publicNotBaked, Environment: w.env, Variable: w.e.Name, File: w.c.example.File, Line: w.e.Line, Column: w.e.Column,
				Message: fmt.Sprintf("%s does not hold its value: the bundle was built without it or for another environment", p.relative(dir)),
				Fix:     w.rebuild(),
			})
		}
	}
	return nil
}

func (w *sought) rebuild() string {
	env := w.env
	if env == "" {
		env = "ENVIRONMENT"
	}
	return fmt.Sprintf(`build it anew with the value: docker build --build-arg %s="$(envctl get %s --env %s --component %s --raw)", with ARG and ENV above the RUN that builds`,
		w.e.Name, w.e.Name, env, w.c.name)
}

// publicValue returns what an environment has for a variable, if it can be told
// from other text in a bundle.
func (c *component) publicValue(s *shelf, name string) secret.Value {
	v := s.value(naming.Path{Project: c.Name, Environment: s.live.Environment.Name, Component: c.name}, name)
	for _, d := range c.config.Dotenv {
		if f := parsed(c.dotenvs, d); !v.IsSet() && naming.IsLocal(s.live.Environment.Name) && f != nil {
			var e dotenv.Entry
			if e, _ = f.Lookup(name); e.Key != "" {
				v = e.Value
			}
		}
	}
	if v.Len() < 8 {
		return secret.Value{}
	}
	return v
}

// searchBundle walks a bundle, without what a build keeps for itself.
func (p *project) searchBundle(dir string, all []*sought) error {
	op := "search bundle " + dir
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fault.New(fault.NotFound, op, "there is no such folder", "build first, and name the folder of the bundle: .next, dist, build or out")
	}
	defer root.Close()
	files, searched := root.FS(), 0
	err = fs.WalkDir(files, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && (d.Name() == "node_modules" || file == "cache"):
			return fs.SkipDir
		case !d.Type().IsRegular() || !bundleFile(d.Name()):
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		where := p.relative(filepath.Join(dir, file))
		if info.Size() > maxBundleFile {
			p.notes = append(p.notes, fmt.Sprintf("%s is larger than %d MiB and was not searched", where, maxBundleFile>>20))
			return nil
		}
		text, err := fs.ReadFile(files, file)
		if err != nil {
			return err
		}
		searched++
		server := slices.ContainsFunc(strings.Split(file, "/"), func(part string) bool { return part == "server" || part == "standalone" })
		for _, w := range all {
			w.search(where, text, server)
		}
		return nil
	})
	switch {
	case err != nil:
		return fault.Wrap(err, fault.Denied, op, "check the folder's permissions")
	case searched == 0:
		return fault.New(fault.Invalid, op, "there is no file of a bundle in it", "name the folder that the build writes: .next, dist, build or out")
	}
	return nil
}

// search looks for the value, and for what stands where it should.
func (w *sought) search(file string, text []byte, server bool) {
	if w.value.IsSet() && !w.found {
		v := w.value.Reveal() //nolint:forbidigo // a public value, looked for and never shown
		escaped := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v)
		w.found = slices.ContainsFunc([]string{v, escaped, strings.ReplaceAll(escaped, "/", `\/`), strings.ReplaceAll(v, "&", "&amp;"), strings.ReplaceAll(v, "&", `\u0026`)},
			func(form string) bool { return bytes.Contains(text, []byte(form)) })
	}
	say := func(at int, what string) {
		if w.told[what] {
			return // once is enough: a bundle has hundreds of files
		}
		w.told[what] = true
		line := 1 + bytes.Count(text[:at], []byte("\n"))
		w.c.add(Finding{
			Rule: publicNotBaked, Environment: w.env, Variable: w.e.Name, File: file, Line: line, Column: at - bytes.LastIndexByte(text[:at], '\n'),
			Message: what, Fix: w.rebuild(),
		}, w.c.example.File)
	}
	if w.e.Placeholder && len(w.e.Value) >= 4 {
		if at := bytes.Index(text, []byte(w.e.Value)); at >= 0 {
			say(at, "the bundle holds the example's placeholder")
		}
	}
	if !bytes.Contains(text, []byte(w.e.Name)) {
		return
	}
	for _, m := range w.left.FindAllIndex(text, -1) {
		// A server still reads its environment when it runs; a browser has none.
		if reads := bytes.Contains(text[m[0]:m[1]], []byte(".env.")); reads && !server {
			say(m[0], "the build left the name where the value should stand: in a browser it is undefined")
		} else if !reads {
			say(m[0], "the bundle holds a placeholder of that name instead of the value")
		}
	}
}

// relative names a file as findings do.
func (p *project) relative(file string) string {
	if rel, err := filepath.Rel(p.Root, file); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return filepath.ToSlash(file)
}

// bundleOf refuses to compare one bundle with several environments.
func bundleOf(in Input) error {
	if in.Bundle != "" && len(in.Live) > 1 {
		return fault.New(fault.Usage, "check --bundle", "a bundle is built for one environment", "name it with --env instead of --all-envs")
	}
	return nil
}
