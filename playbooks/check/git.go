package check

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // git names contents by it
	"crypto/sha256"
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
	"time"

	"envctl/internal/fault"
	"envctl/internal/layer"
	"envctl/providers/dotenv"
)

// checkProject applies the rules that are about the project as a whole.
func (p *project) checkProject(ctx context.Context) {
	p.checkPublic()
	p.checkPrevious(ctx)
	p.checkTracked()
}

// checkTracked reports .env files in git's index. The index is read as the file
// it is: a repository's own configuration can make git run commands.
func (p *project) checkTracked() {
	top, dir := workTree(p.Root)
	if dir == "" {
		return
	}
	data, err := os.ReadFile(filepath.Join(dir, "index"))
	if errors.Is(err, fs.ErrNotExist) {
		return // nothing was ever added
	}
	var tracked []indexEntry
	if err == nil {
		tracked, err = readIndex(data, func(name string) bool { return strings.HasPrefix(path.Base(name), ".env") || p.isDotenv(top, name) })
	}
	if err != nil {
		p.notes = append(p.notes, "git's index could not be read: dotenv-tracked was not asked ("+err.Error()+")")
		return
	}
	for _, entry := range tracked {
		name := entry.path
		rel, err := filepath.Rel(p.Root, filepath.Join(top, filepath.FromSlash(name)))
		if err != nil || !filepath.IsLocal(rel) {
			continue
		}
		rel = filepath.ToSlash(rel)
		listed := p.isDotenv(top, name)
		if slices.ContainsFunc(p.all, func(c *component) bool { return c.config.Example == rel }) || isSample(path.Base(rel)) {
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
			if slices.ContainsFunc(c.config.Dotenv, func(d string) bool { return d == rel }) {
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
			data, rerr := os.ReadFile(g)
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

// indexEntry is a file as git's index knows it.
type indexEntry struct {
	path           string
	seconds, nanos uint32 // of the last change that git saw
	size           uint32
	oid            []byte
}

// readIndex returns the entries of a git index (versions 2 to 4) whose path want
// takes.
func readIndex(data []byte, want func(string) bool) ([]indexEntry, error) {
	out, err := readIndexOf(data, sha1.Size, want)
	if err != nil { // with the other hash an entry has another length
		if other, oerr := readIndexOf(data, sha256.Size, want); oerr == nil {
			return other, nil
		}
	}
	return out, err
}

var errSplit = errors.New("it is split or sparse")

func readIndexOf(data []byte, hash int, want func(string) bool) ([]indexEntry, error) {
	bad := errors.New("it is no index of version 2, 3 or 4")
	if len(data) < 12+hash || string(data[:4]) != "DIRC" {
		return nil, bad
	}
	version, count := binary.BigEndian.Uint32(data[4:]), int(binary.BigEndian.Uint32(data[8:]))
	if version < 2 || version > 4 {
		return nil, bad
	}
	var out []indexEntry
	name := []byte{}
	pos := 12
	for range count {
		start := pos
		if pos+42+hash > len(data) {
			return nil, bad
		}
		flags := binary.BigEndian.Uint16(data[pos+40+hash:])
		pos += 42 + hash
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
			e := data[start:]
			out = append(out, indexEntry{
				path: s, seconds: binary.BigEndian.Uint32(e[8:]), nanos: binary.BigEndian.Uint32(e[12:]), size: binary.BigEndian.Uint32(e[36:]), oid: e[40 : 40+hash],
			})
		}
	}
	for pos+8 <= len(data)-hash { // extensions: one in small letters must be understood
		if data[pos] < 'A' || data[pos] > 'Z' {
			return nil, errSplit
		}
		pos += 8 + int(binary.BigEndian.Uint32(data[pos+4:]))
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

// Changes are the files that differ from HEAD, or that git does not know yet.
type Changes struct {
	root   string // of the project
	names  map[string]bool
	staged map[string]bool
	index  map[string]indexEntry
	// written is when git wrote its index: it saw a file that is older as it is.
	written time.Time
}

// ReadChanges asks git's plumbing what is staged and what is new, and compares the
// other files itself: git would run the filters, hooks and monitors that a
// repository's configuration names. Usage outside of a checkout, Unavailable where
// git does not answer.
func ReadChanges(ctx context.Context, root string, env []string) (*Changes, error) {
	const op = "check --changed"
	top, dir := workTree(root)
	if dir == "" {
		return nil, fault.New(fault.Usage, op, "this is no git checkout", "run envctl check without --changed")
	}
	out := &Changes{root: root, names: map[string]bool{}, staged: map[string]bool{}, index: map[string]indexEntry{}}
	prefix, err := filepath.Rel(top, root)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, op, "")
	}
	index := filepath.Join(dir, "index")
	if st, err := os.Stat(index); err == nil {
		out.written = st.ModTime()
	}
	data, err := os.ReadFile(index)
	if err == nil {
		entries, rerr := readIndex(data, func(string) bool { return true })
		if rerr != nil {
			return nil, fault.New(fault.Unavailable, op, "git's index cannot be read: "+rerr.Error(), "run envctl check without --changed")
		}
		for _, e := range entries {
			rel, inside := e.path, true
			if prefix != "." {
				rel, inside = strings.CutPrefix(e.path, filepath.ToSlash(prefix)+"/")
			}
			if inside {
				out.index[rel] = e
			}
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Unavailable, op, "git's index cannot be read", "run git status to see why")
	}
	ask := func(args ...string) ([]string, error) {
		args = append([]string{"-C", root, "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "protocol.allow=never"}, args...)
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Env = append(slices.Clone(env), "GIT_OPTIONAL_LOCKS=0", "GIT_NO_LAZY_FETCH=1")
		answer, err := cmd.Output()
		return strings.FieldsFunc(string(answer), func(r rune) bool { return r == 0 }), err
	}
	head := "HEAD"
	if _, err := ask("rev-parse", "--verify", "--quiet", head); err != nil {
		head = "4b825dc642cb6eb9a060e54bf8d69288fbee4904" // the empty tree: there is no commit yet
	}
	for i, args := range [][]string{
		{"diff-index", "--cached", "--name-only", "--relative", "--no-ext-diff", "--ignore-submodules=all", "-z", head},
		{"ls-files", "--others", "--exclude-standard", "-z"},
	} {
		names, err := ask(args...)
		if errors.Is(err, exec.ErrNotFound) {
			return nil, fault.New(fault.Unavailable, op, "there is no git on this machine", "install git, or run envctl check without --changed")
		}
		if err != nil {
			return nil, fault.New(fault.Unavailable, op, "git does not say what changed", "run git status to see why")
		}
		for _, n := range names {
			out.names[n] = true
			out.staged[n] = i == 0
		}
	}
	return out, nil
}

// halfStaged tells whether a file was changed since it was staged: what is checked
// is then not what a commit takes.
func (c *Changes) halfStaged(rel string) bool {
	e, tracked := c.index[rel]
	return tracked && c.staged[rel] && c.differs(rel, e)
}

// Has tells whether a file, relative to the project, changed.
func (c *Changes) Has(rel string) bool {
	if rel == "" {
		return false
	}
	if changed, known := c.names[rel]; known {
		return changed
	}
	e, tracked := c.index[rel]
	c.names[rel] = tracked && c.differs(rel, e)
	return c.names[rel]
}

// differs compares a file with what the index has of it: by time and size, as git
// does, and by content where the file was touched since.
func (c *Changes) differs(rel string, e indexEntry) bool {
	file := filepath.Join(c.root, filepath.FromSlash(rel))
	st, err := os.Lstat(file)
	if err != nil {
		return true
	}
	t := st.ModTime()
	same := t.Unix() == int64(e.seconds) && uint32(st.Size()) == e.size && (e.nanos == 0 || uint32(t.Nanosecond()) == e.nanos)
	if same && t.Before(c.written) {
		return false
	}
	if !st.Mode().IsRegular() || st.Size() > layer.MaxSize || len(e.oid) != sha1.Size {
		return !same
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return true
	}
	sum := sha1.New() //nolint:gosec // git's name for the content
	fmt.Fprintf(sum, "blob %d\x00", len(data))
	_, _ = sum.Write(data) // a hash does not fail
	return !bytes.Equal(sum.Sum(nil), e.oid)
}
