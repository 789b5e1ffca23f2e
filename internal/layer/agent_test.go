package layer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"envctl/internal/realtest"
	"envctl/internal/secret"
)

// nastyValues are put through every way of writing a value. Vault's API is
// JSON: it cannot hold text that is not UTF-8.
var nastyValues = []string{
	"", " ", "a b", "it's", `say "hi"`, `both ' and "`, "$H ${H} $$ $(id)", "`id`", `back\slash\n`, "tab\there", "line\nbreak", "crlf\r\nend",
	"trail\\", "#x", "a #b", "=", "<no value>", "%!s(<nil>)", "%d %s %q %%", "{{ .Data }}", "}}", "é€😀", "\u2028\u200b\ufeff", "\x00\x01\x1b[31m\x7f",
	"<script>&amp;'\"</script>", "-----BEGIN KEY-----\nMIIB+/=\n-----END KEY-----\n", strings.Repeat("x", 100<<10), "null", "true", "0x1F",
}

// writers are the ways templates write a value.
var writers = []string{
	"{{ . }}", `"{{ . }}"`, `{{ printf "%q" . }}`, `{{ printf "%s" . }}`, `{{ printf "%v-%s" . "x" }}`, `{{ . | toJSON }}`, `{{ . | toUnescapedJSON }}`,
	`{{ . | base64Encode }}`, `{{ . | trimSpace | toUpper }}`, `{{ . | indent 4 }}`, `{{ . | split "\n" | join "|" }}`, `{{ . | sha256Hex }}`,
	`{{ html . }}{{ js . }}{{ urlquery . }}{{ len . }}`, `{{ replaceAll "\n" "\\n" . }}`, `{{ regexReplaceAll "[^a-z]" "_" . }}`, `{{ . | toJSONPretty | parseJSON }}`,
	"{{- . -}}", `{{ println . }}`, `{{ print . . }}`, `{{ if eq . "a b" }}ab{{ else }}other{{ end }}`, `{{ or . "empty" }}`, `{{ . | base64URLEncode | base64URLDecode }}`,
}

// The proof that text/template with our functions is Vault Agent: the real
// agent renders every construct and every nasty value, and so do we, byte for byte.
func TestRenderIsVaultAgent(t *testing.T) {
	t.Parallel()
	v := realtest.Vault(t)
	content := map[string]map[string]any{"postgres": {"POSTGRES_PASSWORD": "pg-pass"}, "redis": {"REDIS_PASSWORD": "re-pass"}, "app": {}, "nasty": {}}
	for k, s := range storeContent["app"] {
		content["app"][k] = s
	}
	for _, k := range nonString {
		content["app"][k] = json.RawMessage(storeContent["app"][k])
	}
	var every strings.Builder
	every.WriteString(`{{ with secret "secret/data/ledger/production/nasty" }}`)
	for i, s := range nastyValues {
		content["nasty"][fmt.Sprintf("V%d", i)] = s
		for j, w := range writers {
			fmt.Fprintf(&every, "K%d_%d={{ with .Data.data.V%d }}%s{{ else }}nothing{{ end }}\n", i, j, i, w)
		}
	}
	every.WriteString("ALL={{ .Data.data | toJSON }}\n{{ range $k, $v := .Data.data }}{{ $k }}={{ $v | toJSON }}\n{{ end }}{{ end }}")
	for name, data := range content {
		for range 2 { // so that the version is not 1
			v.Do(http.MethodPost, "secret/data/ledger/production/"+name, map[string]any{"data": data})
		}
	}

	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	type file struct{ name, src, out string }
	var files []file
	config := fmt.Sprintf("exit_after_auth = true\nvault { address = %q }\nauto_auth {\n method \"token_file\" { config = { token_file_path = %q } }\n}\n",
		v.Addr, write("token", v.RootToken))
	add := func(name, src string) {
		f := file{name: name, src: src, out: filepath.Join(dir, fmt.Sprint(len(files), ".out"))}
		config += fmt.Sprintf("template {\n source = %q\n destination = %q\n}\n", write(fmt.Sprint(len(files), ".ctmpl"), src), f.out)
		files = append(files, f)
	}
	for _, c := range constructs {
		add(c.name, c.src)
	}
	add("metadata", app+"V={{ .Data.metadata.version }} {{ .Data.metadata.destroyed }} {{ .Data.metadata.created_time }} {{ .Data.metadata.deletion_time }} {{ .Data.metadata.custom_metadata }}\n{{ end }}")
	add("printf", app+"A={{ printf \"%s|%v|%q|%d\" .Data.data.GONE .Data.data.GONE .Data.data.NUMBER .Data.data.NUMBER }}\nB={{ print .Data.data.GONE }}{{ .Data.data.GONE | toJSON }}\n{{ end }}")
	add("nasty", every.String())

	cmd := exec.Command(realtest.Tool(t, "vault"), "agent", "-config="+write("agent.hcl", config), "-log-level=warn")
	cmd.Env = []string{"ENV=production", "HOME=" + dir}
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Fatalf("vault agent: %v\n%s", err, log.String())
		}
	case <-time.After(120 * time.Second):
		_ = cmd.Process.Kill()
		<-ended
		t.Fatalf("vault agent did not end:\n%s", log.String())
	}

	in := RenderInput{Env: map[string]string{"ENV": "production"}, Secret: readVault(v)}
	for _, f := range files {
		tpl, err := ParseTemplate(f.name, []byte(f.src))
		if err != nil {
			t.Errorf("%s: %v", f.name, err)
			continue
		}
		r, err := Render(t.Context(), tpl, in)
		if err != nil {
			t.Errorf("%s: %v", f.name, err)
			continue
		}
		want, err := os.ReadFile(f.out)
		if err != nil {
			t.Errorf("%s: %v", f.name, err)
			continue
		}
		if got := r.Text.Reveal(); got != string(want) {
			t.Errorf("%s: vault agent writes %s", f.name, difference(got, string(want)))
		}
	}
}

// readVault reads a KV path as envctl's store does: what is not a string
// keeps its JSON text.
func readVault(v *realtest.VaultServer) func(context.Context, string) (SecretData, error) {
	return func(_ context.Context, path string) (SecretData, error) {
		if !strings.HasPrefix(path, "secret/data/") {
			path = "secret/data/" + strings.TrimPrefix(path, "secret/")
		}
		status, body := v.Try(http.MethodGet, path, nil)
		var answer struct {
			Data struct {
				Data     map[string]json.RawMessage
				Metadata struct {
					Version     int
					CreatedTime time.Time `json:"created_time"`
				}
			}
		}
		if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK {
			return SecretData{}, fmt.Errorf("%s: %d %w", path, status, err)
		}
		d := SecretData{Values: map[string]secret.Value{}, Version: answer.Data.Metadata.Version, Created: answer.Data.Metadata.CreatedTime}
		for k, raw := range answer.Data.Data {
			var s string
			if json.Unmarshal(raw, &s) != nil || string(raw) == "null" {
				d.NonString = append(d.NonString, k)
				s = string(raw)
			}
			d.Values[k] = secret.New(s)
		}
		return d, nil
	}
}

func difference(got, want string) string {
	n := 0
	for n < len(got) && n < len(want) && got[n] == want[n] {
		n++
	}
	from := max(0, n-40)
	return fmt.Sprintf("at %d …%.120q, we …%.120q", n, want[from:], got[from:])
}
