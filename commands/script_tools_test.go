package commands_test

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

func asExit(err error, into **exec.ExitError) bool { return errors.As(err, into) }

// jsonField PATH [WANT] checks a field of the JSON document on standard output
// (stderr with a leading "stderr:"): a dotted path, numbers index lists, "len"
// counts one. Without WANT the field must exist; with ! it must not.
func jsonField(ts *testscript.TestScript, neg bool, args []string) {
	stream, path := "stdout", args[0]
	if rest, ok := strings.CutPrefix(path, "stderr:"); ok {
		stream, path = "stderr", rest
	}
	var doc any
	if err := json.Unmarshal([]byte(ts.ReadFile(stream)), &doc); err != nil {
		ts.Fatalf("%s is not one JSON document: %v", stream, err)
	}
	got, ok := walk(doc, strings.Split(path, "."))
	switch {
	case len(args) == 1 && neg && ok:
		ts.Fatalf("%s is there", path)
	case len(args) == 1 && neg:
	case !ok:
		ts.Fatalf("no field %s", path)
	case len(args) == 2:
		text := asText(ts, got)
		if (text == args[1]) == neg {
			ts.Fatalf("%s is %q, want %q", path, text, args[1])
		}
	}
}

func asText(ts *testscript.TestScript, v any) string {
	if text, ok := v.(string); ok {
		return text
	}
	b, err := json.Marshal(v)
	ts.Check(err)
	return string(b)
}

// field returns a field of the document in a stream as text.
func field(ts *testscript.TestScript, stream, path string) string {
	var doc any
	if err := json.Unmarshal([]byte(ts.ReadFile(stream)), &doc); err != nil {
		ts.Fatalf("%s is not one JSON document: %v", stream, err)
	}
	got, ok := walk(doc, strings.Split(path, "."))
	if !ok {
		ts.Fatalf("no field %s", path)
	}
	return asText(ts, got)
}

func walk(doc any, path []string) (any, bool) {
	for _, step := range path {
		switch d := doc.(type) {
		case map[string]any:
			v, ok := d[step]
			if !ok {
				return nil, false
			}
			doc = v
		case []any:
			if step == "len" {
				doc = len(d)
				continue
			}
			var i int
			if err := json.Unmarshal([]byte(step), &i); err != nil || i >= len(d) {
				return nil, false
			}
			doc = d[i]
		default:
			return nil, false
		}
	}
	return doc, true
}

// pysecret FILE checks with Python's cryptography that FILE holds a Fernet key.
func pysecret(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(ts.Exec("/usr/bin/python3", "-c", "import sys;from cryptography.fernet import Fernet;k=open(sys.argv[1]).read().strip();f=Fernet(k.encode());assert f.decrypt(f.encrypt(b'x'))==b'x'", ts.MkAbs(args[0])))
}
