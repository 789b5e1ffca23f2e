package layer

import (
	"bytes"
	"context"
	"testing"

	"envctl/internal/secret"
)

// A stretch that mark made is known wherever it is cut from; the same bytes from
// elsewhere are a value.
func TestOwn(t *testing.T) {
	t.Parallel()
	const src = "A={{ with secret \"kv/data/a\" }}{{ .Data.data.k }}{{ end }}\n"
	tmpl, err := ParseTemplate("t", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	for pos := range len(src) + 1 {
		for end := pos; end <= len(src); end++ {
			p := tmpl.copied[pos:end]
			if got, ok := tmpl.own(p); !ok || got != pos {
				t.Fatalf("own(%q at %d) = %d, %t", p, pos, got, ok)
			}
			if got, ok := tmpl.own(bytes.Clone(p)); ok {
				t.Fatalf("a copy of %q is the template's own, at %d", p, got)
			}
		}
	}
	room := make([]byte, 0, cap(tmpl.copied))
	if _, ok := tmpl.own(room); ok {
		t.Error("empty room of the same size is the template's own")
	}
	if _, ok := tmpl.own(make([]byte, 3, 2*cap(tmpl.copied))); ok {
		t.Error("a larger buffer is the template's own")
	}

	value := secret.New("A=") // as the template's text
	out, err := Render(context.Background(), tmpl, RenderInput{Secret: func(context.Context, string) (SecretData, error) {
		return SecretData{Values: map[string]secret.Value{"k": value}}, nil
	}})
	if err != nil || out.Masked != "A=[secret]\n" {
		t.Errorf("%q, %v", out.Masked, err)
	}
}
