package formats

import (
	"slices"
	"strings"

	"envctl/internal/secret"
	"envctl/providers/dotenv"
)

// EditText writes values for a person's editor: dotenv lines below a comment,
// which ReadEdited reads back equal. It returns the keys that stand in the text;
// what the format cannot carry is left out, and a comment says so.
func EditText(comment string, values map[string]secret.Value) (text secret.Value, shown []string) {
	var b strings.Builder
	for _, line := range strings.Split(strings.TrimSuffix(comment, "\n"), "\n") {
		b.WriteString(strings.TrimRight("# "+line, " ") + "\n")
	}
	b.WriteString("\n")
	var left []string
	for _, k := range sorted(values) {
		q, ok := editQuote(k, values[k].Reveal())
		if !ok {
			left = append(left, k)
			continue
		}
		b.WriteString(k + "=" + q + "\n")
		shown = append(shown, k)
	}
	for _, k := range left {
		b.WriteString("# " + quote(k) + " cannot be written here, and stays as it is\n")
	}
	return secret.New(b.String()), shown
}

// editQuote returns the most readable way to write a value that Parse gives
// back, whatever stands around it.
func editQuote(key, v string) (string, bool) {
	escape := func(pairs ...string) string { return `"` + strings.NewReplacer(pairs...).Replace(v) + `"` }
	for _, q := range []string{
		v, "'" + v + "'", escape(`\`, `\\`, `"`, `\"`, "$", `\$`),
		escape(`\`, `\\`, `"`, `\"`, "$", `\$`, "\n", `\n`, "\r", `\r`, "\t", `\t`),
	} {
		f, err := dotenv.Parse("", []byte("A=1\n"+key+"="+q+"\nB='2'\nC=\"3\"\n"))
		if err != nil || len(f.Entries) != 4 || slices.ContainsFunc(f.Problems, func(p dotenv.Problem) bool { return p.Kind != dotenv.Expands }) {
			continue
		}
		if e := f.Entries; e[1].Key == key && e[1].Value.IsSet() && e[1].Value.Reveal() == v && e[2].Value.Reveal() == "2" && e[3].Value.Reveal() == "3" {
			return q, true
		}
	}
	return "", false
}

// ReadEdited reads what an editor left. Nothing is expanded: a $ is a $. Lines
// that are no assignment, or a key that stands twice, is Invalid with its line.
func ReadEdited(file string, src []byte) ([]Item, error) {
	f, err := dotenv.Parse(file, src)
	if err != nil {
		return nil, err
	}
	const assign = "write KEY=value, in quotes where the value has blanks, # or line ends"
	if err := unread(file, unmeant(f.Problems), assign, assign); err != nil {
		return nil, err
	}
	if d := f.Duplicates(); len(d) > 0 {
		return nil, invalid(file, d[0].Line, "keep one of them", "%s stands twice", d[0].Key)
	}
	items := make([]Item, 0, len(f.Entries))
	for _, e := range f.Entries {
		items = append(items, Item{Key: e.Key, Value: e.Value, Line: e.Line})
	}
	return items, nil
}
