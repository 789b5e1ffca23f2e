package check

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"envctl/internal/secret"
	"envctl/providers/dotenv"
)

// checkReaders reports values of .env files and the example on which the
// readers that this project has for them disagree.
func (c *component) checkReaders() {
	type source struct {
		rel string
		src []byte
	}
	var files []source
	for _, d := range c.config.Dotenv {
		if f := c.dotenvs[d]; f != nil && f.err == nil {
			files = append(files, source{f.rel, f.src})
		}
	}
	if f := c.examples[c.config.Example]; f != nil && f.err == nil && !slices.ContainsFunc(files, func(s source) bool { return s.rel == f.rel }) {
		files = append(files, source{f.rel, f.src})
	}
	for _, f := range files {
		if readers := c.readersOf(f.rel); len(readers) > 1 {
			c.disagreements(f.rel, f.src, readers)
		}
	}
}

// readersOf returns who reads a .env file, as far as the project's own files
// say. An example is read by those who read the .env made from it.
func (c *component) readersOf(rel string) []dotenv.Dialect {
	names := []string{rel}
	if rel == c.config.Example {
		names = append(names, path.Join(path.Dir(rel), ".env"))
		for _, d := range c.config.Dotenv {
			if path.Dir(d) == path.Dir(rel) {
				names = append(names, d)
			}
		}
	}
	is := func(file string) bool { return slices.Contains(names, clean(file)) }
	var out []dotenv.Dialect
	if c.compose != nil {
		reads := is(path.Join(path.Dir(c.compose.rel), ".env")) && len(c.compose.names) > 0
		for _, s := range c.compose.services {
			reads = reads || slices.ContainsFunc(s.envFiles, is)
		}
		if reads {
			out = append(out, dotenv.Compose)
		}
		if c.compose.sources && slices.ContainsFunc(names, func(n string) bool { return strings.Contains(c.compose.sourcedAt, n) }) {
			out = append(out, dotenv.Sh)
		}
	}
	if c.code != nil {
		reads := bytes.Contains(c.code.src, []byte("load_dotenv("))
		for _, k := range c.code.Classes {
			for _, e := range k.EnvFiles {
				// Relative to where the program is started, which nobody says.
				reads = reads || slices.ContainsFunc(names, func(n string) bool { return baseOf(n) == baseOf(e) })
			}
		}
		if reads {
			out = append(out, dotenv.Python)
		}
	}
	return out
}

func (c *component) disagreements(rel string, src []byte, readers []dotenv.Dialect) {
	f, err := dotenv.Parse(rel, src)
	if err != nil {
		return // reported as unreadable
	}
	var values []map[string]secret.Value
	for _, d := range readers {
		r, err := dotenv.ReadAs(d, rel, src, nil)
		if err != nil {
			at := slices.IndexFunc(r.Problems, func(p dotenv.Problem) bool { return p.Kind == dotenv.Refused })
			out := Finding{Rule: readersDisagree, File: rel, Line: 1, Message: string(d) + " refuses the file", Fix: "write the line as KEY='value'"}
			if at >= 0 {
				p := r.Problems[at]
				out.Variable, out.Line, out.Column = p.Key, max(1, p.Line), p.Column
				for _, e := range f.Entries {
					if out.Variable == "" && e.Line == p.Line {
						out.Variable, out.Column = e.Key, e.Column
					}
				}
				out.Message = fmt.Sprintf("%s refuses the line: %s", readerName(d), p.Message)
			}
			c.add(out)
			return
		}
		values = append(values, r.Values())
	}
	for _, e := range f.Entries {
		if last, _ := f.Lookup(e.Key); last.Start != e.Start {
			continue
		}
		for i := 1; i < len(readers); i++ {
			a, b := values[0][e.Key], values[i][e.Key]
			if !a.IsSet() && !b.IsSet() || a.Equal(b) {
				continue
			}
			how := "another value"
			if !b.IsSet() {
				how = "nothing"
			}
			fix := fmt.Sprintf("put the value in single quotes: %s='…'", e.Key)
			if e.Quote == '\'' {
				fix = "choose a value of letters, digits, - and _ (envctl generate token)"
			}
			c.add(Finding{
				Rule: readersDisagree, Variable: e.Key, File: rel, Line: e.Line, Column: e.Column,
				Message: fmt.Sprintf("%s reads one value here, %s %s", readerName(readers[0]), readerName(readers[i]), how), Fix: fix,
			}, c.config.Compose, c.config.Code)
			break
		}
	}
}

func readerName(d dotenv.Dialect) string {
	return map[dotenv.Dialect]string{
		dotenv.Compose: "docker compose", dotenv.Docker: "docker --env-file", dotenv.Dokploy: "Dokploy", dotenv.Python: "python-dotenv", dotenv.Sh: "a shell",
	}[d]
}
