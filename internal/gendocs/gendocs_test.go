package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDocsUpToDate fails when docs/ is not what go generate makes.
func TestDocsUpToDate(t *testing.T) {
	files := generate()
	docs := filepath.Join("..", "..", "docs")
	for _, name := range names(files) {
		have, err := os.ReadFile(filepath.Join(docs, filepath.FromSlash(name)))
		if err != nil || !bytes.Equal(have, files[name]) {
			t.Errorf("docs/%s is stale: run go generate ./...", name)
		}
	}
	for _, dir := range []string{"commands", "man"} {
		entries, err := os.ReadDir(filepath.Join(docs, dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if _, ok := files[dir+"/"+e.Name()]; !ok {
				t.Errorf("docs/%s/%s belongs to no command: remove it", dir, e.Name())
			}
		}
	}
}

// TestUsage walks the commands: each says what it does, beginning with a capital.
func TestUsage(t *testing.T) {
	for name, data := range generate() {
		if !strings.HasPrefix(name, "commands/envctl_") {
			continue
		}
		lines := strings.SplitN(string(data), "\n", 4)
		if len(lines) < 3 || lines[2] == "." || strings.ToUpper(lines[2][:1]) != lines[2][:1] {
			t.Errorf("%s: the usage line is %q", name, lines[2])
		}
	}
}
