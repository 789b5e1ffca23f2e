package layer

import (
	"strings"
	"testing"
)

// What decides a variable: the paths its value is made of, the branches it stands
// in, those within its value, and assignments in a branch, which may reach any.
func TestNeeds(t *testing.T) {
	t.Parallel()
	a, b := `(secret "kv/data/a")`, `(secret "kv/data/b")`
	for src, want := range map[string]string{
		`{{ with secret "kv/data/a" }}V={{ .Data.data.k }}{{ end }}` + "\n" + `{{ with secret "kv/data/b" }}W={{ .Data.data.k }}{{ end }}`: "V: a, W: b",
		`V={{ ` + a + `.Data.data.x }}{{ ` + b + `.Data.data.y }}` + "\nW=1\n":                                                             "V: a b, W: ",
		`{{ if ` + a + `.Data.data.on }}V=1` + "\n" + `{{ end }}W=1`:                                                                       "V: a, W: ",
		`V={{ if ` + a + `.Data.data.on }}1{{ else }}2{{ end }}` + "\nW=1":                                                                 "V: a, W: ",
		`V=x{{ if ` + a + `.Data.data.on }}` + "\n" + `{{ end }}` + "\nW=1":                                                                "V: a, W: ",
		`{{ $x := "1" }}{{ if ` + a + `.Data.data.on }}{{ $x = "2" }}{{ end }}V={{ $x }}` + "\nW=1":                                        "V: a, W: a",
		`{{ $x := "1" }}{{ range ` + a + `.Data.data }}{{ else }}{{ $y := "2" }}{{ $x = $y }}{{ end }}V={{ $x }}` + "\nW=1":                "V: a, W: a",
		`{{ range $k, $v := ` + a + `.Data.data }}{{ with secret "kv/data/b" }}V={{ .Data.data.k }}` + "\n" + `{{ end }}{{ end }}W=1`:      "V: a b, W: ",
		`{{ with secret "kv/data/a" }}{{ with secret "kv/data/b" }}V={{ .Data.data.k }}{{ end }}` + "\nW={{ .Data.data.k }}{{ end }}":      "V: a b, W: a",
		`{{ define "x" }}V={{ . }}{{ end }}{{ template "x" ` + a + `.Data.data.k }}` + "\nW={{ " + b + `.Data.data.k }}`:                   "V: a, W: b",
		`V={{ .Nothing }}` + "\nW={{ " + b + `.Data.data.k }}`:                                                                             "V: b, W: b",
	} {
		tmpl, err := ParseTemplate("t", []byte(src))
		if err != nil {
			t.Fatal(src, err)
		}
		var got []string
		for _, v := range tmpl.Variables {
			got = append(got, v.Name+": "+strings.ReplaceAll(strings.Join(v.Needs, " "), "kv/data/", ""))
		}
		if all := strings.Join(got, ", "); all != want {
			t.Errorf("%s\n got %s\nwant %s", src, all, want)
		}
	}
	tmpl, err := ParseTemplate("t", []byte(`{{ with secret "kv/data/b" }}{{ range $k, $v := `+a+`.Data.data }}{{ $k }}={{ $v }}`+"\n"+`{{ end }}{{ end }}`))
	if err != nil || len(tmpl.Spreads) != 1 || strings.Join(tmpl.Spreads[0].Needs, " ") != "kv/data/a kv/data/b" {
		t.Errorf("%+v, %v", tmpl.Spreads, err)
	}
}
