package check

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// dockerfile is what the rules need of a Dockerfile.
type dockerfile struct {
	stages []stage
	global map[string]int // ARG before the first FROM, by line
}

// stage is one FROM and what stands below it, in order.
type stage struct {
	name, base string
	steps      []instruction
}

// instruction is ARG or ENV with its names, or the RUN that builds.
type instruction struct {
	word  string
	names map[string]string // with their values as written
	build bool
	line  int
}

var building = sync.OnceValue(func() *regexp.Regexp { //nolint:gochecknoglobals // compiled on first use
	return regexp.MustCompile(`(?:npm|pnpm|yarn|bun|npx|turbo|nx|next)\b[^&|;]*\bbuild\b`)
})

// parseDockerfile reads FROM, ARG, ENV and RUN: comments, continued lines,
// here-documents and both forms of ENV.
func parseDockerfile(src string) *dockerfile {
	d := &dockerfile{global: map[string]int{}}
	lines := strings.Split(strings.ReplaceAll(src, "\r\n", "\n"), "\n")
	escape := byte('\\')
	if len(lines) > 0 && strings.HasPrefix(strings.ReplaceAll(strings.ToLower(lines[0]), " ", ""), "#escape=`") {
		escape = '`'
	}
	for i := 0; i < len(lines); i++ {
		at := i + 1
		var b strings.Builder
		for ; i < len(lines); i++ {
			text := strings.TrimRight(lines[i], " \t")
			if trimmed := strings.TrimSpace(text); trimmed == "" && b.Len() == 0 || strings.HasPrefix(trimmed, "#") {
				if b.Len() == 0 {
					break
				}
				continue
			}
			if text != "" && text[len(text)-1] == escape {
				b.WriteString(text[:len(text)-1] + " ")
				continue
			}
			b.WriteString(text)
			break
		}
		word, rest, _ := strings.Cut(strings.TrimSpace(b.String()), " ")
		rest = strings.TrimSpace(rest)
		if word = strings.ToUpper(word); word == "RUN" || word == "COPY" {
			var body string
			if body, i = heredoc(rest, lines, i); body != "" {
				rest += "\n" + body
			}
		}
		d.take(word, rest, at)
	}
	return d
}

// heredoc returns the text of the here-document that a line begins, and the
// line where it ends.
func heredoc(rest string, lines []string, i int) (string, int) {
	_, after, found := strings.Cut(rest, "<<")
	if !found {
		return "", i
	}
	end := strings.Trim(strings.TrimPrefix(firstField(after), "-"), `"'`)
	if end == "" || strings.ContainsAny(end[:1], "0123456789(<") {
		return "", i
	}
	for j := i + 1; j < len(lines); j++ {
		if strings.TrimSpace(lines[j]) == end {
			return strings.Join(lines[i+1:j], "\n"), j
		}
	}
	return "", i
}

func firstField(s string) string {
	if f := strings.Fields(s); len(f) > 0 {
		return f[0]
	}
	return ""
}

func (d *dockerfile) take(word, rest string, line int) {
	if word == "FROM" {
		f := strings.Fields(rest)
		for len(f) > 0 && strings.HasPrefix(f[0], "--") {
			f = f[1:]
		}
		s := stage{}
		if len(f) > 0 {
			s.base = strings.ToLower(f[0])
		}
		if len(f) > 2 && strings.EqualFold(f[1], "as") {
			s.name = strings.ToLower(f[2])
		}
		d.stages = append(d.stages, s)
		return
	}
	in := instruction{word: word, line: line}
	switch word {
	case "ARG", "ENV":
		in.names = assignments(word, rest)
	case "RUN":
		if in.build = building().MatchString(rest); !in.build {
			return
		}
	default:
		return
	}
	if len(d.stages) == 0 {
		for n := range in.names {
			d.global[n] = line
		}
		return
	}
	s := &d.stages[len(d.stages)-1]
	s.steps = append(s.steps, in)
}

// assignments reads KEY=value pairs, a bare KEY, and ENV's old form KEY value.
func assignments(word, rest string) map[string]string {
	out := map[string]string{}
	fields := quotedFields(rest)
	if word == "ENV" && len(fields) > 0 && !strings.Contains(fields[0], "=") {
		out[fields[0]] = strings.TrimSpace(strings.TrimPrefix(rest, fields[0]))
		return out
	}
	for _, f := range fields {
		k, v, _ := strings.Cut(f, "=")
		out[k] = v
	}
	return out
}

// quotedFields splits at blanks outside of quotes.
func quotedFields(s string) []string {
	var out []string
	var b strings.Builder
	quote := byte(0)
	for i := range len(s) {
		switch c := s[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
			b.WriteByte(c)
		case c == '"' || c == '\'':
			quote = c
			b.WriteByte(c)
		case c == ' ' || c == '\t':
			if b.Len() > 0 {
				out = append(out, b.String())
				b.Reset()
			}
		default:
			b.WriteByte(c)
		}
	}
	if b.Len() > 0 {
		out = append(out, b.String())
	}
	return out
}

// baked says what keeps a variable out of the bundle that the Dockerfile
// builds, "" for nothing, and the line of the build; line 0: nothing is built.
func (d *dockerfile) baked(name string) (why string, line int) {
	for i, s := range d.stages {
		at := slices.IndexFunc(s.steps, func(in instruction) bool { return in.build })
		if at < 0 {
			continue
		}
		line = s.steps[at].line
		arg, env, value := d.before(i, at, name, 0)
		late := slices.ContainsFunc(s.steps[at:], func(in instruction) bool { _, ok := in.names[name]; return ok })
		switch {
		case arg && env, env && value != "" && !strings.Contains(value, "$"):
			return "", line
		case late:
			why = fmt.Sprintf("its ARG or ENV stands below the RUN that builds (line %d)", line)
		case !arg && d.global[name] > 0:
			why = fmt.Sprintf("its ARG (line %d) stands above FROM: the stage that builds does not see it", d.global[name])
		case !arg:
			why = "the stage that builds has no ARG for it"
		default:
			why = "the stage that builds has an ARG but no ENV for it"
		}
		return why, line
	}
	return "", 0
}

// before looks for ARG and ENV among a stage's first steps, and in the stages
// it is made from.
func (d *dockerfile) before(i, steps int, name string, depth int) (arg, env bool, value string) {
	s := d.stages[i]
	for j := range i {
		if b := d.stages[j]; depth < 20 && b.name != "" && b.name == s.base {
			arg, env, value = d.before(j, len(b.steps), name, depth+1)
		}
	}
	for _, in := range s.steps[:steps] {
		v, ok := in.names[name]
		if !ok {
			continue
		}
		if in.word == "ARG" {
			arg = true
		} else {
			env, value = true, v
		}
	}
	return arg, env, value
}

// checkPublic reports variables of the browser that the image's build does not
// get: they would be undefined, or another environment's.
func (p *project) checkPublic() {
	for _, c := range p.components {
		if c.example == nil || c.compose == nil {
			continue
		}
		type built struct {
			file string
			d    *dockerfile
		}
		var files []built
		for _, f := range c.dockerfiles() {
			src, err := p.read(f)
			if err != nil || !c.buildsNext(f, string(src)) {
				continue // compose may build from elsewhere: no file, no answer
			}
			files = append(files, built{f, parseDockerfile(string(src))})
		}
		for _, e := range c.example.Entries {
			if !isPublic(e.Name) || e.Commented {
				continue
			}
			reason, file, line := "", "", 0
			for _, f := range files {
				why, at := f.d.baked(e.Name)
				if at == 0 {
					continue
				}
				if why == "" {
					reason, file = "", ""
					break
				}
				if file == "" {
					reason, file, line = why, f.file, at
				}
			}
			if file == "" {
				continue
			}
			c.add(Finding{
				Rule: publicNotBaked, Variable: e.Name, File: file, Line: line,
				Message: reason + fmt.Sprintf(" (%s:%d declares it)", c.example.File, e.Line),
				Fix:     fmt.Sprintf("above the RUN that builds: ARG %s and ENV %s=$%s", e.Name, e.Name, e.Name),
			}, c.example.File, c.compose.rel)
		}
	}
}

// dockerfiles returns the Dockerfiles that the compose file builds, else the one
// beside it.
func (c *component) dockerfiles() []string {
	var out []string
	for _, s := range c.compose.services {
		if s.dockerfile != "" && !slices.Contains(out, s.dockerfile) && !strings.HasPrefix(s.dockerfile, "..") {
			out = append(out, s.dockerfile)
		}
	}
	if len(out) == 0 {
		out = append(out, path.Join(path.Dir(c.compose.rel), "Dockerfile"))
	}
	return out
}

// buildsNext tells whether a Dockerfile builds a bundle that takes
// NEXT_PUBLIC_ variables in.
func (c *component) buildsNext(file, src string) bool {
	if strings.Contains(src, "NEXT_PUBLIC_") || strings.Contains(src, "next build") {
		return true
	}
	for _, dir := range []string{path.Dir(file), c.contextOf(file)} {
		if pkg, err := c.read(path.Join(dir, "package.json")); err == nil && strings.Contains(string(pkg), `"next"`) {
			return true
		}
	}
	return false
}

func (c *component) contextOf(file string) string {
	for _, s := range c.compose.services {
		if s.dockerfile == file {
			return s.context
		}
	}
	return path.Dir(file)
}
