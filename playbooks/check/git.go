package check

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"envctl/internal/fault"
	"envctl/providers/dotenv"
)

// checkProject applies the rules that are about the project as a whole.
func (p *project) checkProject() {
	p.checkPublic()
	p.checkTracked()
}

// checkTracked reports .env files in git's index. The index is read as the file
// it is: a repository's own configuration can make git run commands.
func (p *project) checkTracked() {
	top, dir := workTree(p.Root)
	if dir == "" {
		return
	}
	data, err := os.ReadFile(filepath.Join(dir, "index")) //nolint:gosec // git's own file
	if errors.Is(err, fs.ErrNotExist) {
		return // nothing was ever added
	}
	var tracked []string
	if err == nil {
		tracked, err = indexPaths(data, func(name string) bool { return strings.HasPrefix(path.Base(name), ".env") || p.isDotenv(top, name) })
	}
	if err != nil {
		p.notes = append(p.notes, "git's index could not be read: dotenv-tracked was not asked ("+err.Error()+")")
		return
	}
	for _, name := range tracked {
		rel, err := filepath.Rel(p.Root, filepath.Join(top, filepath.FromSlash(name)))
		if err != nil || !filepath.IsLocal(rel) {
			continue
		}
		rel = filepath.ToSlash(rel)
		listed := p.isDotenv(top, name)
		if slices.ContainsFunc(p.all, func(c *component) bool { return clean(c.config.Example) == rel }) || isSample(path.Base(rel)) {
			continue
		}
		if !listed && path.Base(rel) != ".env" && !p.holdsSecret(rel) {
			continue
		}
		f := Finding{
			Rule: dotenvTracked, File: rel, Line: 1, Message: "git tracks it: its values are in every clone, and stay in the history",
			Fix: fmt.Sprintf("git rm --cached %s && echo %s >> .gitignore, then rotate what it holds", rel, rel),
		}
		for _, c := range p.components {
			if slices.ContainsFunc(c.config.Dotenv, func(d string) bool { return clean(d) == rel }) {
				f.Component = c.name
			}
		}
		p.add(f)
	}
}

func (p *project) isDotenv(top, name string) bool {
	abs := filepath.Join(top, filepath.FromSlash(name))
	return slices.ContainsFunc(p.all, func(c *component) bool {
		return slices.ContainsFunc(c.config.Dotenv, func(d string) bool { return filepath.Join(p.Root, d) == abs })
	})
}

// isSample tells whether a .env's name says that it is an example.
func isSample(base string) bool {
	for _, s := range []string{"default", "defaults", "dist", "example", "examples", "sample", "schema", "template", "test", "tmpl", "tpl"} {
		if strings.HasSuffix(base, "."+s) || strings.HasSuffix(base, "-"+s) || strings.Contains(base, "."+s+".") {
			return true
		}
	}
	return base == ".envrc" // direnv's, a program
}

// holdsSecret tells whether a file sets a variable that is called a secret.
func (p *project) holdsSecret(rel string) bool {
	src, err := p.read(rel)
	if err != nil {
		return false
	}
	f, err := dotenv.Parse(rel, src)
	return err == nil && slices.ContainsFunc(f.Entries, func(e dotenv.Entry) bool {
		return secretName(e.Key) && e.Value.Len() > 0 && !e.Expands
	})
}

// workTree returns the top folder of the checkout that holds dir, and its git
// folder; "" outside one.
func workTree(dir string) (top, git string) {
	for d := dir; ; d = filepath.Dir(d) {
		g := filepath.Join(d, ".git")
		st, err := os.Stat(g)
		if err == nil && st.IsDir() {
			return d, g
		}
		if err == nil {
			data, rerr := os.ReadFile(g) //nolint:gosec // git's own file
			to, ok := strings.CutPrefix(strings.TrimSpace(string(data)), "gitdir:")
			if rerr != nil || !ok {
				return "", ""
			}
			if to = strings.TrimSpace(to); !filepath.IsAbs(to) {
				to = filepath.Join(d, to)
			}
			return d, to
		}
		if d == filepath.Dir(d) {
			return "", ""
		}
	}
}

// Top returns the top folder of the checkout that holds dir, "" outside one.
func Top(dir string) string {
	top, _ := workTree(dir)
	return top
}

// indexPaths returns the paths of a git index (versions 2 to 4) that want
// takes.
func indexPaths(data []byte, want func(string) bool) ([]string, error) {
	bad := errors.New("not an index of version 2, 3 or 4")
	if len(data) < 12 || string(data[:4]) != "DIRC" {
		return nil, bad
	}
	version, count := binary.BigEndian.Uint32(data[4:]), int(binary.BigEndian.Uint32(data[8:]))
	if version < 2 || version > 4 {
		return nil, bad
	}
	var out []string
	name := []byte{}
	pos := 12
	for range count {
		start := pos
		if pos+62 > len(data) {
			return nil, bad
		}
		flags := binary.BigEndian.Uint16(data[pos+60:])
		pos += 62
		if version >= 3 && flags&0x4000 != 0 {
			pos += 2
		}
		if version == 4 {
			strip, n := offsetVarint(data[min(pos, len(data)):])
			if n == 0 || strip > len(name) {
				return nil, bad
			}
			pos += n
			name = name[:len(name)-strip]
		} else {
			name = name[:0]
		}
		if pos > len(data) {
			return nil, bad
		}
		end := bytes.IndexByte(data[pos:], 0)
		if end < 0 {
			return nil, bad
		}
		name = append(name, data[pos:pos+end]...)
		pos += end + 1
		if version < 4 { // padded to eight bytes, with one NUL at least
			pos = start + (pos-1-start+8)/8*8
		}
		if s := string(name); want(s) {
			out = append(out, s)
		}
	}
	for pos+8 <= len(data)-20 { // extensions: one that is not a capital letter's must be understood
		size := int(binary.BigEndian.Uint32(data[pos+4:]))
		if data[pos] < 'A' || data[pos] > 'Z' {
			return out, fmt.Errorf("it is split or sparse (%q)", string(data[pos:pos+4]))
		}
		pos += 8 + size
	}
	return out, nil
}

// offsetVarint reads the number that index version 4 shortens names by.
func offsetVarint(b []byte) (value, n int) {
	for i, c := range b {
		if i > 4 {
			return 0, 0
		}
		if i > 0 {
			value++
		}
		value = value<<7 | int(c&0x7f)
		if c&0x80 == 0 {
			return value, i + 1
		}
	}
	return 0, 0
}

// Changed returns the files, relative to root, that differ from HEAD or that git
// does not know yet. It asks git's plumbing, which compares without running the
// filters, hooks and monitors that a repository's configuration may name.
// Usage outside of a checkout, Unavailable where git does not answer.
func Changed(ctx context.Context, root string, env []string) (map[string]bool, error) {
	const op = "check --changed"
	if _, dir := workTree(root); dir == "" {
		return nil, fault.New(fault.Usage, op, "this is no git checkout", "run envctl check without --changed")
	}
	base := []string{"-C", root, "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.untrackedCache=false"}
	ask := func(args ...string) ([]string, error) {
		cmd := exec.CommandContext(ctx, "git", append(slices.Clone(base), args...)...)
		cmd.Env = append(slices.Clone(env), "GIT_OPTIONAL_LOCKS=0", "GIT_EXTERNAL_DIFF=")
		out, err := cmd.Output()
		if err != nil {
			return nil, err
		}
		return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 }), nil
	}
	head := "HEAD"
	if _, err := ask("rev-parse", "--verify", "--quiet", head); err != nil {
		head = "4b825dc642cb6eb9a060e54bf8d69288fbee4904" // the empty tree: there is no commit yet
	}
	out := map[string]bool{}
	for _, args := range [][]string{
		{"diff-index", "--name-only", "--relative", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all", "-z", head},
		{"ls-files", "--others", "--exclude-standard", "-z"},
	} {
		names, err := ask(args...)
		if err != nil {
			return nil, fault.New(fault.Unavailable, op, "git does not say what changed", "run git status to see why")
		}
		for _, n := range names {
			out[n] = true
		}
	}
	return out, nil
}
