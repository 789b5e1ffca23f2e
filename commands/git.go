package commands

import (
	"os"
	"path/filepath"
	"strings"
)

// gitDir returns the .git folder of the checkout that holds dir, "" outside one.
func gitDir(dir string) string {
	for d := dir; ; d = filepath.Dir(d) {
		g := filepath.Join(d, ".git")
		st, err := os.Stat(g)
		switch {
		case err == nil && st.IsDir():
			return g
		case err == nil: // a work tree: "gitdir: PATH"
			data, rerr := os.ReadFile(g)
			if rerr != nil {
				return ""
			}
			p := strings.TrimSpace(strings.TrimPrefix(string(data), "gitdir:"))
			if !filepath.IsAbs(p) {
				p = filepath.Join(d, p)
			}
			return p
		case d == filepath.Dir(d):
			return ""
		}
	}
}

// gitBranch returns the branch checked out at dir, the commit where none is, ""
// outside a checkout. It reads HEAD, so that nothing has to be started.
func gitBranch(dir string) string {
	g := gitDir(dir)
	if g == "" {
		return ""
	}
	head, err := os.ReadFile(filepath.Join(g, "HEAD"))
	if err != nil {
		return ""
	}
	h := strings.TrimSpace(string(head))
	if b, ok := strings.CutPrefix(h, "ref: refs/heads/"); ok {
		return b
	}
	return h[:min(len(h), 12)]
}
