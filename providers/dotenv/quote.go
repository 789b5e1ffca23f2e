package dotenv

import (
	"strings"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

// Quote returns the text to write after KEY= so that every named reader reads
// back exactly value, with nothing expanded or run. A value for which there is no
// such text is Refused, in words that name the reader in the way. No readers
// named means all of them.
func Quote(value secret.Value, readers ...Dialect) (secret.Value, error) {
	if len(readers) == 0 {
		readers = Dialects()
	}
	v := value.Reveal()
	for _, text := range quotings(v, 0) {
		if reader := disagrees(text, v, readers); reader == "" {
			return secret.New(text), nil
		}
	}
	return secret.Value{}, fault.New(fault.Refused, "write a value for "+joinDialects(readers), unwritable(v, readers), unwritableHint(v))
}

// quotings returns the ways to write v, the plainest first; like is the quote to
// prefer where it fits.
func quotings(v string, like byte) []string {
	escape := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(v) }
	single := "'" + v + "'"
	double := `"` + v + `"`
	all := []string{
		v,
		single,
		double,
		`"` + escape(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`) + `"`,
		`"` + escape(`\`, `\\`, `"`, `\"`, "\r", `\r`) + `"`,
		`"` + escape(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`", "\n", `\n`, "\r", `\r`) + `"`,
		`"` + escape(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`") + `"`,
		`"` + escape("\n", `\n`, "\r", `\r`) + `"`,
		`"` + escape(`"`, `\"`) + `"`,
		"'" + escape(`'`, `\'`) + "'",
		"'" + escape(`\`, `\\`, `'`, `\'`) + "'",
		"'" + escape(`'`, `'\''`) + "'",
		"`" + v + "`",
	}
	switch like {
	case '\'':
		all = append([]string{single}, all...)
	case '"':
		all = append([]string{double}, all...)
	}
	return all
}

// disagrees returns the first reader that does not read text, between other
// lines, as exactly value. The quotes of the lines below matter: python-dotenv
// takes \' for a quote inside '…' where another ' follows anywhere in the file.
func disagrees(text, value string, readers []Dialect) Dialect {
	src := "A=1\nKEY=" + text + "\nB='2'\nC=\"3\"\n"
	for _, d := range readers {
		b, c := "2", "3"
		if d == Docker {
			b, c = "'2'", `"3"`
		}
		r, err := ReadAs(d, "", []byte(src), nil)
		if err != nil || len(r.Problems) > 0 || len(r.Assignments) != 4 {
			return d
		}
		a := r.Assignments
		if a[0].Value.Reveal() != "1" || a[1].Key != "KEY" || a[1].Value.Reveal() != value || a[2].Value.Reveal() != b || a[3].Value.Reveal() != c {
			return d
		}
	}
	return ""
}

// unwritable says why no text suits every reader.
func unwritable(v string, readers []Dialect) string {
	for _, d := range readers {
		fits := false
		for _, text := range quotings(v, 0) {
			fits = fits || disagrees(text, v, []Dialect{d}) == ""
		}
		if !fits {
			return "there is no way to write this value (" + hardParts(v) + ") that " + string(d) + " reads back unchanged"
		}
	}
	return "no one way to write this value (" + hardParts(v) + ") is read back unchanged by all of them"
}

func unwritableHint(v string) string {
	if strings.ContainsAny(v, "\n\r") {
		return "store the value base64-encoded, or give each reader its own file (envctl export --for sh, --for compose)"
	}
	return "generate a value of letters, digits, - and _ (envctl set KEY --generate token), or give each reader its own file (envctl export --for sh)"
}

// hardParts names the kinds of character that make a value hard to write.
func hardParts(v string) string {
	var parts []string
	for _, p := range []struct{ chars, name string }{
		{"\n\r", "newlines"},
		{"\x00", "NUL"},
		{"'", "single quotes"},
		{`"`, "double quotes"},
		{"$", "$"},
		{"`", "backticks"},
		{`\`, "backslashes"},
		{"#", "#"},
		{" \t", "blanks"},
		{"!&()*;<>?[]{|}~", "characters that a shell acts on"},
	} {
		if strings.ContainsAny(v, p.chars) {
			parts = append(parts, p.name)
		}
	}
	if len(parts) == 0 {
		return "its bytes"
	}
	return strings.Join(parts, ", ")
}

func joinDialects(ds []Dialect) string {
	var names []string
	for _, d := range ds {
		names = append(names, string(d))
	}
	return strings.Join(names, ", ")
}
