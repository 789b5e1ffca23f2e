package playbooks

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"envctl/internal/config"
	"envctl/internal/fault"
)

// layersWorld is a project of the given files, with one component of three layers.
func layersWorld(t *testing.T, files map[string]string) *World {
	t.Helper()
	dir := t.TempDir()
	yaml := "version: 1\nproject: ledger\nenvironments: {staging: {}, production: {}}\ncomponents:\n  app: {"
	for layer, file := range map[string]string{"template": "t.ctmpl", "code": "config.py", "example": ".env.example"} {
		if _, ok := files[file]; ok {
			yaml += layer + ": " + file + ", "
		}
	}
	yaml += "}\n  other: {template: other.ctmpl}\n"
	if _, ok := files["other.ctmpl"]; !ok {
		yaml = strings.Replace(yaml, "  other: {template: other.ctmpl}\n", "", 1)
	}
	files["envctl.yaml"] = yaml
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	p, err := config.Load(filepath.Join(dir, "envctl.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return &World{Project: p, User: &config.User{}}
}

// changed applies a change and returns the lines that went and came.
func changed(t *testing.T, w *World, c *VarChange) string {
	t.Helper()
	var b strings.Builder
	for _, e := range c.Edits {
		for _, line := range strings.Split(e.Diff(), "\n") {
			if line != "" && (line[0] == '+' || line[0] == '-') && !strings.HasPrefix(line, "+++") && !strings.HasPrefix(line, "---") {
				b.WriteString(line + "\n")
			}
		}
	}
	if err := w.ApplyVarChange(c); err != nil {
		t.Fatal(err)
	}
	for _, e := range c.Edits {
		got, err := os.ReadFile(filepath.Join(w.Project.Root, e.File))
		if err != nil || string(got) != string(e.New) {
			t.Errorf("%s holds something else (%v)", e.File, err)
		}
		if st, err := os.Stat(filepath.Join(w.Project.Root, e.File)); err != nil || st.Mode().Perm() != 0o640 {
			t.Errorf("%s has another mode", e.File)
		}
	}
	return b.String()
}

const (
	open  = "{{ with secret (printf \"secret/data/ledger/%s/app\" (env \"ENV\")) -}}\n"
	end   = "{{ end }}\n"
	class = "from pydantic import Field, SecretStr\nfrom pydantic_settings import BaseSettings\n\nclass Settings(BaseSettings):\n"
)

func TestVariableEdits(t *testing.T) {
	t.Parallel()
	line := func(k string) string { return k + "={{ .Data.data." + k + " | printf \"%q\" }}\n" }
	add := func(name string, o VarAddOptions) func(*World) (*VarChange, error) {
		return func(w *World) (*VarChange, error) { return w.AddVariable("app", name, o) }
	}
	rename := func(old, fresh string, o VarRenameOptions) func(*World) (*VarChange, error) {
		return func(w *World) (*VarChange, error) { return w.RenameVariable("app", old, fresh, o) }
	}
	remove := func(name string) func(*World) (*VarChange, error) {
		return func(w *World) (*VarChange, error) { return w.RemoveVariable("app", name) }
	}
	for name, c := range map[string]struct {
		template, code, example, other string
		do                             func(*World) (*VarChange, error)
		want                           string // the changed lines; ✗ and a part of the refusal
	}{
		"add as the template does": {
			template: "{{ $s := secret (printf \"secret/data/ledger/%s/app\" (env \"ENV\")) }}\nA={{ $s.Data.data.A | toJSON }}\n",
			do:       add("B", VarAddOptions{}), want: "+B={{ $s.Data.data.B | toJSON }}\n",
		},
		"add with shquote": {
			template: open + "A={{ .Data.data.A | shquote }}\n" + end,
			do:       add("B", VarAddOptions{HasDefault: true, Default: "it's"}), want: "+B={{ with .Data.data.B }}{{ shquote . }}{{ else }}\"it's\"{{ end }}\n",
		},
		"add below a block": {
			template: open + "{{ with .Data.data.A }}A={{ printf \"%q\" . }}\n{{ end -}}\n" + end,
			do:       add("B", VarAddOptions{}), want: "+B={{ .Data.data.B | printf \"%q\" }}\n",
		},
		"add with another key": {
			template: open + line("A") + end, do: add("B", VarAddOptions{From: "#C"}), want: "+B={{ .Data.data.C | printf \"%q\" }}\n",
		},
		"add where nothing is read": {template: "A=1\n", do: add("B", VarAddOptions{}), want: "✗reads nothing of app"},
		"add without the template":  {template: "A=1\n", code: class + "    a: int\n", do: add("B", VarAddOptions{NoTemplate: true}), want: "+    b: str\n"},
		"add to a file without its last line end": {
			code: class + "    a: int", do: add("B", VarAddOptions{}), want: "-    a: int\n+    a: int\n+    b: str\n",
		},
		"add with CRLF": {code: strings.ReplaceAll(class+"    a: int\n", "\n", "\r\n"), do: add("B", VarAddOptions{}), want: "+    b: str\r\n"},
		"add under a prefix": {
			code: class + "    model_config = SettingsConfigDict(env_prefix=\"APP_\")\n    a: int\n", do: add("APP_B", VarAddOptions{}), want: "+    b: str\n",
		},
		"add outside of a prefix": {
			code: class + "    model_config = SettingsConfigDict(env_prefix=\"APP_\")\n    a: int = Field(1)\n", do: add("B", VarAddOptions{}),
			want: "+    b: str = Field(validation_alias=\"B\")\n",
		},
		"add before a method": {code: class + "    a: int\n\n    def f(self):\n        return 1\n", do: add("B", VarAddOptions{}), want: "+    b: str\n"},
		"add not before a docstring": {
			code: class + "    a: int\n    b: int\n    \"\"\"about b\"\"\"\n", do: add("C", VarAddOptions{Type: "bool", HasDefault: true, Default: "true"}), want: "+    c: bool = True\n",
		},
		"add optional":       {code: class + "    a: Optional[int] = None\n", do: add("B", VarAddOptions{Optional: true, Type: "int"}), want: "+    b: Optional[int] = None\n"},
		"add a list":         {code: class + "    a: int\n", do: add("B", VarAddOptions{Type: "list", HasDefault: true, Default: "x, y"}), want: "+    b: list[str] = [\"x\", \"y\"]\n"},
		"add a hard default": {code: class + "    a: int\n", do: add("B", VarAddOptions{HasDefault: true, Default: `a"b\c`}), want: "+    b: str = \"a\\\"b\\\\c\"\n"},
		"add to one of two classes": {
			code: class + "    a: int\n\nclass Other(BaseSettings):\n    b: int\n", do: add("C", VarAddOptions{}), want: "✗2 settings classes",
		},
		"add to the class named": {
			code: class + "    a: int\n\nclass Other(BaseSettings):\n    b: int\n", do: add("C", VarAddOptions{Class: "Other"}), want: "+    c: str\n",
		},
		"add a secret's default":  {code: class + "    a: int\n", do: add("A_KEY", VarAddOptions{HasDefault: true, Default: "x"}), want: "✗would stand in the repository"},
		"add no number":           {code: class + "    a: int\n", do: add("B", VarAddOptions{Type: "int", HasDefault: true, Default: "x"}), want: "✗the default is no int"},
		"add what is there":       {code: class + "    a: int\n", do: add("A", VarAddOptions{}), want: "✗declares it already"},
		"add what is half there":  {code: class + "    a: int\n", example: "B=1\n", do: add("A", VarAddOptions{}), want: "+A=\n"},
		"add to a group":          {example: "# === One ===\nA=1\n\n# === Two ===\nB=2\n", do: add("C", VarAddOptions{Group: "One", Description: "see"}), want: "+# see\n+C=\n"},
		"add to no group":         {example: "# === One ===\nA=1\n", do: add("C", VarAddOptions{Group: "Two"}), want: `✗no group "Two"`},
		"add not under a mark":    {example: "# a [VAULT]\nA=1\n", do: add("C", VarAddOptions{}), want: "+# C\n+C=\n"},
		"add a hostile default":   {template: open + line("A") + end, do: add("B", VarAddOptions{HasDefault: true, Default: "{{ x }}"}), want: "✗{{ would be an action"},
		"add a default for shell": {template: open + line("A") + end, do: add("B", VarAddOptions{HasDefault: true, Default: "$(id)"}), want: "+B={{ with .Data.data.B }}{{ printf \"%q\" . }}{{ else }}'$(id)'{{ end }}\n"},

		"rename everywhere": {
			template: open + line("A") + end, code: class + "    a: str\n", example: "A=1\n# A=2\n", do: rename("A", "B", VarRenameOptions{}),
			want: "-A={{ .Data.data.A | printf \"%q\" }}\n+B={{ .Data.data.B | printf \"%q\" }}\n-    a: str\n+    a: str = Field(validation_alias=\"B\")\n-A=1\n-# A=2\n+B=1\n+# B=2\n",
		},
		"rename and keep the key": {
			template: open + line("A") + "AA={{ .Data.data.AA }}\n" + end, do: rename("A", "B", VarRenameOptions{KeepKey: true}),
			want: "-A={{ .Data.data.A | printf \"%q\" }}\n+B={{ .Data.data.A | printf \"%q\" }}\n",
		},
		"rename in both branches": {
			template: open + "{{ if eq (env \"ENV\") \"staging\" }}\nA=1\n{{ else }}\nA={{ .Data.data.A }}\n{{ end }}\n" + end, do: rename("A", "B", VarRenameOptions{}),
			want: "-A=1\n+B=1\n-A={{ .Data.data.A }}\n+B={{ .Data.data.B }}\n",
		},
		"rename with export": {template: open + "export A={{ .Data.data.A }}\n" + end, do: rename("A", "B", VarRenameOptions{}), want: "-export A={{ .Data.data.A }}\n+export B={{ .Data.data.B }}\n"},
		"rename leaves comments": {
			template: open + "{{/* .Data.data.A */}}# A is\n" + line("A") + end, do: rename("A", "B", VarRenameOptions{}),
			want: "-A={{ .Data.data.A | printf \"%q\" }}\n+B={{ .Data.data.B | printf \"%q\" }}\n",
		},
		"rename in another template": {
			template: open + line("A") + end, other: open + "URL=\"x{{ .Data.data.A }}\"\n" + end, do: rename("A", "B", VarRenameOptions{}),
			want: "-A={{ .Data.data.A | printf \"%q\" }}\n+B={{ .Data.data.B | printf \"%q\" }}\n-URL=\"x{{ .Data.data.A }}\"\n+URL=\"x{{ .Data.data.B }}\"\n",
		},
		"rename an alias": {
			code: class + "    a: str = Field(\n        validation_alias=AliasChoices(\"X\", \"A\"),\n    )\n", do: rename("A", "B", VarRenameOptions{}),
			want: "-        validation_alias=AliasChoices(\"X\", \"A\"),\n+        validation_alias=AliasChoices(\"X\", \"B\"),\n",
		},
		"rename inside Field":   {code: class + "    a: str = Field(default=\"x\", description=\"y\")  # z\n", do: rename("A", "B", VarRenameOptions{}), want: "-    a: str = Field(default=\"x\", description=\"y\")  # z\n+    a: str = Field(validation_alias=\"B\", default=\"x\", description=\"y\")  # z\n"},
		"rename in Field(…)":    {code: class + "    a: str = Field(..., description=\"y\")\n", do: rename("A", "B", VarRenameOptions{}), want: "-    a: str = Field(..., description=\"y\")\n+    a: str = Field(..., description=\"y\", validation_alias=\"B\")\n"},
		"rename with a comment": {code: class + "    a: str = \"#\"  # x = y\n", do: rename("A", "B", VarRenameOptions{}), want: "-    a: str = \"#\"  # x = y\n+    a: str = Field(default=\"#\", validation_alias=\"B\")  # x = y\n"},
		"rename without Field": {
			code: "from pydantic import SecretStr\nfrom pydantic_settings import BaseSettings\n\nclass S(BaseSettings):\n    a: str\n", do: rename("A", "B", VarRenameOptions{}),
			want: "-from pydantic import SecretStr\n+from pydantic import SecretStr, Field\n-    a: str\n+    a: str = Field(validation_alias=\"B\")\n",
		},
		"rename without any import": {
			code: "from pydantic_settings import BaseSettings\n\nclass S(BaseSettings):\n    a: str = Field()\n", do: rename("A", "B", VarRenameOptions{}),
			want: "-    a: str = Field()\n+    a: str = Field(validation_alias=\"B\")\n",
		},
		"rename with an import of its own": {
			code: "from pydantic_settings import BaseSettings\n\nclass S(BaseSettings):\n    a: str\n", do: rename("A", "B", VarRenameOptions{}),
			want: "+from pydantic import Field\n-    a: str\n+    a: str = Field(validation_alias=\"B\")\n",
		},
		"rename the attribute": {code: class + "    a: str = \"x\"\n", do: rename("A", "B", VarRenameOptions{RenameField: true}), want: "-    a: str = \"x\"\n+    b: str = \"x\"\n"},
		"rename to what is":    {code: class + "    a: str\n    b: str\n", do: rename("A", "B", VarRenameOptions{}), want: "✗declared already"},
		"rename what is not":   {code: class + "    a: str\n", do: rename("X", "B", VarRenameOptions{}), want: "✗no layer of app declares it"},

		"remove everywhere": {
			template: open + line("A") + line("B") + end, code: class + "    a: str\n    b: str = Field(\n        \"x\",\n    )\n", example: "A=1\n# about b\nB=1\n", do: remove("B"),
			want: "-B={{ .Data.data.B | printf \"%q\" }}\n-from pydantic import Field, SecretStr\n+from pydantic import SecretStr\n-    b: str = Field(\n-        \"x\",\n-    )\n-# about b\n-B=1\n",
		},
		"remove a block":          {template: open + line("A") + "{{ with .Data.data.B }}B={{ . }}\n{{ end -}}\n" + end, do: remove("B"), want: "-{{ with .Data.data.B }}B={{ . }}\n-{{ end -}}\n"},
		"remove a block of three": {template: open + line("A") + "{{- with .Data.data.B }}\nB={{ . }}\n{{- end }}\n" + end, do: remove("B"), want: "-{{- with .Data.data.B }}\n-B={{ . }}\n-{{- end }}\n"},
		"remove both branches": {
			template: open + line("A") + "{{ if eq (env \"ENV\") \"staging\" }}\nB=1\n{{ else }}\nB=2\n{{ end }}\n" + end, do: remove("B"), want: "-B=1\n-B=2\n",
		},
		"remove with its description": {code: class + "    a: str\n    b: str\n    \"\"\"about\n    b\"\"\"\n    c: str\n", do: remove("B"), want: "-    b: str\n-    \"\"\"about\n-    b\"\"\"\n"},
		"remove the last that needs an import": {
			code: "from pydantic import Field\nfrom pydantic_settings import BaseSettings\n\nclass S(BaseSettings):\n    a: str\n    b: str = Field(\"x\")\n", do: remove("B"),
			want: "-from pydantic import Field\n-    b: str = Field(\"x\")\n",
		},
		"remove one of two that need an import":     {code: class + "    a: str = Field(\"y\")\n    b: str = Field(\"x\")\n", do: remove("B"), want: "-    b: str = Field(\"x\")\n"},
		"remove beside an import that nothing used": {code: class + "    a: str\n    b: str\n", do: remove("B"), want: "-    b: str\n"},
		"remove where an import says more": {
			code: "from pydantic import Field  # noqa: F401\nfrom pydantic_settings import BaseSettings\n\nclass S(BaseSettings):\n    a: str\n    b: str = Field(\"x\")\n", do: remove("B"),
			want: "-    b: str = Field(\"x\")\n",
		},
		"remove the only field": {code: class + "    a: str\n", do: remove("A"), want: "✗something else without it"},
		"remove under a shared comment": {
			example: "# both\nA=1\nB=2\n", do: remove("A"), want: "✗something else without it",
		},
		"remove the second of two": {example: "# both\nA=1\nB=2\n", do: remove("B"), want: "-B=2\n"},
		"remove what is not":       {example: "A=1\n", do: remove("B"), want: "✗no layer of app declares it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{}
			for file, text := range map[string]string{"t.ctmpl": c.template, "config.py": c.code, ".env.example": c.example, "other.ctmpl": c.other} {
				if text != "" {
					files[file] = text
				}
			}
			w := layersWorld(t, files)
			change, err := c.do(w)
			if want, refused := strings.CutPrefix(c.want, "✗"); refused {
				if err == nil || !strings.Contains(err.Error(), want) || fault.HintOf(err) == "" {
					t.Fatalf("%v (hint %q), want %q", err, fault.HintOf(err), want)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v (%s)", err, fault.HintOf(err))
			}
			if got := changed(t, w, change); got != c.want {
				t.Errorf("changes\n%swant\n%s", got, c.want)
			}
		})
	}
}

// A file that somebody changed meanwhile is left alone, and those written before
// it are put back.
func TestVariableEditConflict(t *testing.T) {
	t.Parallel()
	w := layersWorld(t, map[string]string{"config.py": class + "    a: str\n", ".env.example": "A=1\n"})
	c, err := w.AddVariable("app", "B", VarAddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	example := filepath.Join(w.Project.Root, ".env.example")
	if err := os.WriteFile(example, []byte("A=2\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := w.ApplyVarChange(c); !fault.Is(err, fault.Conflict) {
		t.Errorf("%v", err)
	}
	code, err := os.ReadFile(filepath.Join(w.Project.Root, "config.py"))
	if err != nil || string(code) != class+"    a: str\n" {
		t.Errorf("the code is left changed: %v", err)
	}
	if got, err := os.ReadFile(example); err != nil || string(got) != "A=2\n" {
		t.Errorf("the example was overwritten: %v", err)
	}
}
