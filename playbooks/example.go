package playbooks

import (
	"embed"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"envctl/internal/fault"
)

//go:embed example
var exampleFiles embed.FS

// WriteExample writes a complete example project into a folder that exists:
// layers, compose file, .env files, envctl.yaml. replace holds old and new
// texts by turns, as strings.NewReplacer takes them.
func WriteExample(folder string, replace ...string) error {
	op := "write the example to " + folder
	texts := strings.NewReplacer(replace...)
	err := fs.WalkDir(exampleFiles, "example", func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(strings.TrimPrefix(p, "example"), "/")
		// Stored without the leading dot, which packers and ignore rules dislike.
		rel = strings.Replace(rel, "dot.env", ".env", 1)
		to := filepath.Join(folder, filepath.FromSlash(rel))
		if e.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		data, err := exampleFiles.ReadFile(p)
		if err != nil {
			return err
		}
		return os.WriteFile(to, []byte(texts.Replace(string(data))), 0o644)
	})
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, op, "check the folder and the disk")
	}
	return nil
}
