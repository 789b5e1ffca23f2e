package playbooks

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/layer"
	"envctl/internal/realtest"
	"envctl/internal/secret"
	"envctl/providers"
)

// hostile are values that shells change or run when they are quoted carelessly.
func hostile(n int) []string {
	out := []string{
		"plain", "a b", "it's", `he "q"`, "$H", "${H}", "pa$word", "$$", "$", "100%", "`id`", "$(id)", "x;id", "a&b", "a|b", "<x>", "(x)", "a\nb", "a\n",
		"a\tb", `a\nb`, `C:\new\t`, `\`, `\\`, `trail\`, `'`, `"`, "`", "~", "~/x", "=", "a=b", "é€😀", "#x", "a #b", "!x", "*", "{a,b}", "\x1b[31m",
		"postgres://u:p%40ss@h:5432/db?sslmode=require", "-----BEGIN KEY-----\nMIIB\n-----END KEY-----\n", `{"a": "b's"}`, "b'gAAA='", "%!s", "<no value>",
	}
	random := rand.New(rand.NewSource(5))
	chars := []rune("ab '\"\\$#`~:{}()=!\n\t;&|<>é-%")
	for range n {
		var b strings.Builder
		for range 1 + random.Intn(8) {
			b.WriteRune(chars[random.Intn(len(chars))])
		}
		out = append(out, b.String())
	}
	return out
}

// A value is called safe exactly where a real shell, sourcing what the template
// writes, gives it back; and where we say that a shell would run a part of it,
// nothing is sourced at all.
func TestTransportAgreesWithRealShells(t *testing.T) {
	t.Parallel()
	dash, bash := realtest.Tool(t, "dash"), realtest.Tool(t, "bash")
	for _, form := range []string{
		`K={{ .Data.data.K | printf "%q" }}`, `K={{ .Data.data.K | shquote }}`, `K={{ .Data.data.K }}`, `K="{{ .Data.data.K }}"`, `K='{{ .Data.data.K }}'`,
		`K='{{ .Data.data.K | replaceAll "'" "'\\''" }}'`, `K={{ with .Data.data.K }}{{ printf "%q" . }}{{ else }}"none"{{ end }}`,
	} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			w := layersWorld(t, map[string]string{"t.ctmpl": open + "A={{ .Data.data.A }}\n" + form + "\nZ=z\n" + end})
			env, err := w.Project.Environment("staging")
			if err != nil {
				t.Fatal(err)
			}
			tmpl, err := w.Template("app")
			if err != nil {
				t.Fatal(err)
			}
			target := Target{Environment: env, Component: "app"}
			safe, alarms := 0, 0
			dir := t.TempDir()
			for i, v := range hostile(40) {
				hop := w.TransportProblem(t.Context(), target, "K", secret.New(v))
				if hop != nil && hop.Executes {
					alarms++
					continue
				}
				r, err := w.pretend(t.Context(), tmpl, target, "K", secret.New(v))
				if err != nil {
					t.Fatal(err)
				}
				equal := true
				for _, shell := range []string{dash, bash} {
					equal = equal && sourced(t, shell, dir, i, r) == v
				}
				switch {
				case hop == nil && !equal:
					t.Errorf("%q changes, and nobody says so", v)
				case hop != nil && equal:
					t.Errorf("%q arrives as it is, and %q is said", v, hop.Message)
				case hop == nil:
					safe++
				}
			}
			if strings.Contains(form, "shquote") || strings.Contains(form, "replaceAll") {
				if alarms > 0 || safe < 80 {
					t.Errorf("%d safe, %d alarms", safe, alarms)
				}
			} else if alarms == 0 || safe < 5 {
				t.Errorf("%d safe, %d alarms", safe, alarms)
			}
		})
	}
}

// sourced returns what a shell makes of K in a rendered text; with an empty PATH
// a wrong claim meets nothing to run.
func sourced(t *testing.T, shell, dir string, i int, r layer.Rendered) string {
	t.Helper()
	file := filepath.Join(dir, fmt.Sprint(i, ".env"))
	if err := os.WriteFile(file, []byte(r.Text.Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(shell, "-c", `. "$0" && [ "$Z" = z ] && printf %s "$K"`, file)
	cmd.Dir, cmd.Env = dir, []string{"PATH=/nonexistent", "H=env", "HOME=/home/o", "LC_ALL=C.UTF-8"}
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return "\x00" // it did not get so far
	}
	return out.String()
}

// What other components' templates make of a key counts too; what no template
// reads goes straight to the process.
func TestTransportReaches(t *testing.T) {
	t.Parallel()
	w := layersWorld(t, map[string]string{
		"t.ctmpl":     "X=1\n",
		"other.ctmpl": open + "URL=\"http://{{ .Data.data.K }}\"\n{{ range $k, $v := .Data.data }}{{ end }}" + end,
	})
	env, err := w.Project.Environment("staging")
	if err != nil {
		t.Fatal(err)
	}
	app := Target{Environment: env, Component: "app"}
	if h := w.TransportProblem(t.Context(), app, "K", secret.New("`id`")); h == nil || !h.Executes || h.Component != "other" || h.File != "other.ctmpl" || h.Line != 2 || h.Variable != "URL" {
		t.Errorf("%+v", h)
	}
	if h := w.TransportProblem(t.Context(), app, "K", secret.New("abc")); h != nil {
		t.Errorf("%+v", h)
	}
	if h := w.TransportProblem(t.Context(), app, "FREE", secret.New("`id`")); h != nil {
		t.Errorf("nothing reads it, and %+v", h)
	}
	if h := w.TransportProblem(t.Context(), Target{Environment: env, Component: "other"}, "K", secret.New("`id`")); h != nil {
		t.Errorf("another path, and %+v", h)
	}
	if _, err := w.transports(t.Context(), app, providers.Patch{"K": secret.New("`id`")}); err == nil || strings.Contains(err.Error(), "`id`") {
		t.Errorf("%v", err)
	}
	if warnings, err := w.transports(t.Context(), app, providers.Patch{"K": secret.New("a$b"), "FREE": secret.New("$")}); err != nil || len(warnings) != 1 {
		t.Errorf("%v %v", warnings, err)
	}
	// A deployment hands on what it reads: certainly another value.
	app.Environment.Deploy.Kind = config.DeployCompose
	if _, err := w.transports(t.Context(), app, providers.Patch{"K": secret.New("a$b")}); !fault.Is(err, fault.Refused) || strings.Contains(err.Error(), "a$b") {
		t.Errorf("%v", err)
	}
}

// Where envctl's own reading keeps a value that a shell's would not, a deployment
// brings it as it is: worth a warning, no refusal.
func TestTransportThatOnlyAShellChanges(t *testing.T) {
	t.Parallel()
	w := layersWorld(t, map[string]string{"t.ctmpl": open + "K={{ .Data.data.K }}\n" + end})
	env, err := w.Project.Environment("staging")
	if err != nil {
		t.Fatal(err)
	}
	env.Deploy.Kind = config.DeployCompose
	app := Target{Environment: env, Component: "app"}
	for value, kind := range map[string]fault.Kind{"a #b": fault.Refused, "it's \"q\" \\ end": -1, "=a=": -1} {
		if _, err := w.transports(t.Context(), app, providers.Patch{"K": secret.New(value)}); (err == nil) != (kind < 0) || err != nil && fault.KindOf(err) != kind {
			t.Errorf("%q: %v", value, err)
		}
	}
}

// Dokploy keeps a text, and some values have no way into it: said before they are
// written, with a template in between or without.
func TestTransportToDokploy(t *testing.T) {
	t.Parallel()
	w := layersWorld(t, map[string]string{"t.ctmpl": open + "K={{ shquote .Data.data.K }}\nA={{ shquote .Data.data.A }}\n" + end})
	env, err := w.Project.Environment("staging")
	if err != nil {
		t.Fatal(err)
	}
	for _, component := range []string{"app", "other"} {
		target := Target{Environment: env, Component: component}
		for v, arrives := range map[string]bool{"plain": true, "pa$word": true, "a\nb": false, "${{project.X}}": false} {
			if h := w.TransportProblem(t.Context(), target, "K", secret.New(v)); h != nil {
				t.Errorf("%s: without a deployer %q is stopped by %s", component, v, h)
			}
			to := target
			to.Environment.Deploy.Kind = config.DeployDokploy
			h := w.TransportProblem(t.Context(), to, "K", secret.New(v))
			if (h == nil) != arrives {
				t.Errorf("%s: %q: %v", component, v, h)
			}
			facts, err := w.transports(t.Context(), to, providers.Patch{"K": secret.New(v)})
			if err != nil || (len(facts) == 0) != arrives || !arrives && !strings.Contains(facts[0].Text, "K will not arrive: Dokploy refuses it: ") {
				t.Errorf("%s: %q: %v, %v", component, v, facts, err)
			}
		}
	}
}

// What is generated arrives as it is, or is not made: a PEM has line ends, which
// %q changes.
func TestFreshArrives(t *testing.T) {
	t.Parallel()
	w := layersWorld(t, map[string]string{"t.ctmpl": open + "K={{ printf \"%q\" .Data.data.K }}\nL={{ shquote .Data.data.L }}\n" + end})
	w.Rand = rand.New(rand.NewSource(1))
	env, err := w.Project.Environment("staging")
	if err != nil {
		t.Fatal(err)
	}
	target := Target{Environment: env, Component: "app"}
	for _, g := range secret.Generators() {
		_, err := w.fresh(target, "K", g)
		if pem := g.Name == "rsa" || g.Name == "ed25519"; pem != fault.Is(err, fault.Refused) || !pem && err != nil {
			t.Errorf("%s through %%q: %v", g.Name, err)
		} else if pem && !strings.Contains(fault.HintOf(err), "shquote") {
			t.Errorf("%s: hint %q", g.Name, fault.HintOf(err))
		}
		if _, err := w.fresh(target, "L", g); err != nil {
			t.Errorf("%s through shquote: %v", g.Name, err)
		}
	}
}
