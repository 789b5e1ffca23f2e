// Package sarif validates what check says for code scanners, in a module of its own so
// that envctl depends on no validator.
package sarif

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestSARIF validates what check says of every project of its corpus, and of one with
// names that a URI must escape, against the official schema.
func TestSARIF(t *testing.T) {
	schema := schemaOf(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "envctl")
	build := exec.Command("go", "build", "-o", bin, ".")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := validate(schema, []byte(`{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x"}}, "results": [{"message": {"text": "x"}, "level": "info"}]}]}`)); err == nil {
		t.Fatal("a level that SARIF does not have passes")
	}
	archives, err := filepath.Glob(filepath.Join(root, "commands/testdata/check/*.txtar"))
	if err != nil || len(archives) < 60 {
		t.Fatalf("%d archives: %v", len(archives), err)
	}
	results := 0
	for _, name := range archives {
		a, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		results += checked(t, schema, bin, strings.TrimSuffix(filepath.Base(name), ".txtar"), a.Files)
	}
	odd := "ä b%20:#?\\c.ctmpl"
	results += checked(t, schema, bin, "odd names", []txtar.File{
		{Name: "envctl.yaml", Data: []byte("version: 1\nproject: ledger\nenvironments: {production: {}}\ncomponents: {app: {template: '" + odd + "'}}\n")},
		{Name: odd, Data: []byte("A={{ nosuch }}\nB=\"\x07\u202e\"\n")},
	})
	if results < 80 {
		t.Errorf("only %d results were validated", results)
	}
}

// checked validates what check says of a project, and returns how many results it has.
func checked(t *testing.T, schema *jsonschema.Schema, bin, name string, files []txtar.File) int {
	t.Helper()
	dir := t.TempDir()
	project, layers := false, ""
	for _, f := range files {
		file := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
		for layer, of := range map[string]string{"template": "secrets.ctmpl", "code": "config.py", "example": ".env.example", "policy": "policy.hcl", "compose": "compose.yaml"} {
			if f.Name == of {
				layers += layer + ": " + of + ", "
			}
		}
		project = project || f.Name == "envctl.yaml"
	}
	if !project {
		text := "version: 1\nproject: ledger\nenvironments: {local: {}, staging: {}, production: {}}\ncomponents: {app: {" + strings.TrimSuffix(layers, ", ") + "}}\n"
		if err := os.WriteFile(filepath.Join(dir, "envctl.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(bin, "check", "--format", "sarif")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir)
	out, err := cmd.Output() // its code says what was found
	if len(out) == 0 {
		t.Errorf("%s: nothing was said: %v", name, err)
		return 0
	}
	if err := validate(schema, out); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return bytes.Count(out, []byte(`"ruleId"`))
}

// gosec's module ships the schema of SARIF 2.1.0, errata 01.
const (
	gosec     = "github.com/securego/gosec/v2@v2.29.0"
	published = "c3b4bb2d6093897483348925aaa73af03b3e3f4bd4ca38cef26dcb4212a2682e"
)

func schemaOf(t *testing.T) *jsonschema.Schema {
	t.Helper()
	out, err := exec.Command("go", "mod", "download", "-json", gosec).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(module.Dir, "report/sarif/testdata/sarif-schema-2.1.0.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != published {
		t.Fatalf("the schema of %s is another one", gosec)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	schema, err := c.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func validate(schema *jsonschema.Schema, doc []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		return err
	}
	return schema.Validate(v)
}
