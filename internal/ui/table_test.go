package ui

import (
	"strings"
	"testing"
)

// The table of a terminal: aligned by what is seen, so colours take no room and
// wide characters two columns; names are shown as they are, and nothing that a
// terminal would obey gets through.
func TestTable(t *testing.T) {
	t.Parallel()
	header := []string{"KEY_NAME", "state", "说明"}
	rows := [][]Cell{
		{C("JWT_SECRET_KEY"), Toned(Good, "set"), C("é ï")},
		{C("A"), Toned(Bad, "missing here"), C("说明 x")},
		{C(""), C("a\tb\nc\x1b[31m"), C("%d %s", 7, "of")},
	}
	for name, c := range map[string]struct {
		u    UI
		want string
	}{
		"terminal": {UI{OutTTY: true}, "" +
			"KEY_NAME        state                说明\n" +
			"JWT_SECRET_KEY  set                  é ï\n" +
			"A               missing here         说明 x\n" +
			`                a\x09b\x0ac\x1b[31m  7 of` + "\n"},
		"colour": {UI{OutTTY: true, Color: true}, "" +
			"\x1b[2mKEY_NAME\x1b[0m        \x1b[2mstate\x1b[0m                \x1b[2m说明\x1b[0m\n" +
			"JWT_SECRET_KEY  \x1b[32mset\x1b[0m                  é ï\n" +
			"A               \x1b[31mmissing here\x1b[0m         说明 x\n" +
			`                a\x09b\x0ac\x1b[31m  7 of` + "\n"},
		"pipe": {UI{}, "JWT_SECRET_KEY\tset\té ï\nA\tmissing here\t说明 x\n\t" + `a\x09b\x0ac\x1b[31m` + "\t7 of\n"},
	} {
		var out strings.Builder
		c.u.Out = &out
		if err := c.u.Table(header, rows); err != nil {
			t.Fatal(err)
		}
		if out.String() != c.want {
			t.Errorf("%s:\n%q\nwant\n%q\n%s", name, out.String(), c.want, out.String())
		}
	}
}

func TestNarrowTable(t *testing.T) {
	t.Parallel()
	header := []string{"WHERE", "LOCATION", "STATE", ""}
	rows := [][]Cell{{C("store"), C("a/long/path"), C("set"), C("version 2")}, {C("code"), C("b"), C("declared"), C("")}}
	for columns, want := range map[int]string{
		40: "WHERE  LOCATION     STATE\nstore  a/long/path  set       version 2\ncode   b            declared\n",
		30: "WHERE  LOCATION     STATE\nstore  a/long/path  set\n  version 2\ncode   b            declared\n",
		25: "WHERE  STATE     LOCATION\nstore  set       a/long/path\n  version 2\ncode   declared  b\n",
	} {
		var out strings.Builder
		u := UI{Out: &out, OutTTY: true, Columns: columns}
		if err := u.Table(header, rows); err != nil || out.String() != want {
			t.Errorf("%d columns: %v\n%s", columns, err, &out)
		}
	}
	if rows[0][1].Text != "a/long/path" {
		t.Error("the caller's rows were changed")
	}
}
