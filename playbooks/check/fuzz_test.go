package check

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// seed gives a fuzz test the corpus's files whose name ends so.
func seed(f *testing.F, suffix string) {
	f.Helper()
	archives, err := filepath.Glob("../../commands/testdata/check/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range archives {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range txtar.Parse(data).Files {
			if strings.HasSuffix(file.Name, suffix) {
				f.Add(file.Data)
			}
		}
	}
}

func FuzzPolicy(f *testing.F) {
	seed(f, ".hcl")
	f.Fuzz(func(_ *testing.T, src []byte) {
		p, err := parsePolicy("p.hcl", src)
		if err == nil {
			p.reads("secret/data/ledger/production/app")
		}
	})
}

func FuzzCompose(f *testing.F) {
	seed(f, "compose.yaml")
	f.Fuzz(func(_ *testing.T, src []byte) {
		if c, err := parseCompose("compose.yaml", src); err == nil {
			c.sets([]string{"A"})
		}
	})
}

func FuzzDockerfile(f *testing.F) {
	seed(f, "Dockerfile")
	f.Fuzz(func(_ *testing.T, src []byte) {
		parseDockerfile(string(src)).baked("NEXT_PUBLIC_A")
	})
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte("DIRC\x00\x00\x00\x04\x00\x00\x00\x01"))
	f.Fuzz(func(_ *testing.T, src []byte) {
		_, _ = readIndex(src, func(string) bool { return true })
	})
}
