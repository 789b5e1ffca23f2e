package python

import (
	"strings"
	"testing"
	"time"
)

func FuzzRead(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.src)
	}
	f.Add("class S(BaseSettings):\n" + strings.Repeat(" ", 200) + "x: int = " + strings.Repeat("(", 150) + "\n")
	f.Add(strings.Repeat("if x:\n ", 60))
	f.Add("x = f'{f\"{f'{1}'}\"}'\r\ny = 1\r")
	f.Fuzz(func(t *testing.T, src string) {
		began := time.Now()
		s, err := Read("fuzz.py", []byte(src))
		if err != nil {
			return
		}
		if spent := time.Since(began); spent > 5*time.Second {
			t.Fatalf("%d bytes took %s", len(src), spent)
		}
		lines := strings.Count(strings.ReplaceAll(strings.ReplaceAll(src, "\r\n", "\n"), "\r", "\n"), "\n") + 1
		for _, p := range s.Problems {
			if p.Line < 1 || p.Line > lines || p.Column < 1 || p.Message == "" {
				t.Fatalf("a problem outside of the file's %d lines: %+v", lines, p)
			}
		}
		for _, x := range s.Fields {
			if x.Line < 1 || x.EndLine < x.Line || x.EndLine > lines || x.Column < 1 || len(x.Accepted) == 0 || x.Kind == "" {
				t.Fatalf("a field that is not of this file of %d lines: %+v", lines, x)
			}
			for _, a := range x.Accepted {
				if !x.Accepts(a) {
					t.Fatalf("%s does not accept its own %s", x.Name, a)
				}
			}
		}
	})
}
