package config

import (
	"strings"
	"testing"

	"envctl/internal/fault"
)

const head = "version: 1\nproject: ledger\n"

func TestRemoveEnvironment(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, after string }{
		"one line":        {head + "environments:\n  staging: {}   # kept\n  qa: {}  # gone\n  prod: {}\n", head + "environments:\n  staging: {}   # kept\n  prod: {}\n"},
		"several lines":   {head + "environments:\n  qa:\n    store: vault\n    deploy: {kind: none}\n\n  # the next one\n  prod: {}\n", head + "environments:\n\n  # the next one\n  prod: {}\n"},
		"a flow of lines": {head + "environments:\n  prod: {}\n  qa: {\n    store: vault\n  }\ncomponents: {app: {}}\n", head + "environments:\n  prod: {}\ncomponents: {app: {}}\n"},
		"the last one":    {head + "environments:\n  qa: {}\ncomponents: {app: {}}\n", head + "components: {app: {}}\n"},
		"no newline":      {head + "environments:\n  prod: {}\n  qa: {}", head + "environments:\n  prod: {}\n"},
		"CRLF":            {strings.ReplaceAll(head, "\n", "\r\n") + "environments:\r\n  prod: {}\r\n  qa: {}\r\n", strings.ReplaceAll(head, "\n", "\r\n") + "environments:\r\n  prod: {}\r\n"},
		"null":            {head + "environments:\n  qa:\n  prod:\n", head + "environments:\n  prod:\n"},
		"quoted":          {head + "environments:\n  \"qa\": {}\n  prod: {}\n", head + "environments:\n  prod: {}\n"},
		"after sections":  {head + "environments:\n  prod: {}\n  qa: {}\n# about components\ncomponents: {app: {}}\n", head + "environments:\n  prod: {}\n# about components\ncomponents: {app: {}}\n"},
	} {
		edited, text, at, err := RemoveEnvironment([]byte(c.before), "qa")
		if err != nil || string(edited) != c.after {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, edited, c.after)
			continue
		}
		back, err := RestoreEnvironment(edited, "qa", text, at)
		if err != nil || string(back) != c.before {
			t.Errorf("%s: put back: %v\n%q\nwant\n%q", name, err, back, c.before)
		}
		if again, err := RestoreEnvironment(back, "qa", text, at); err != nil || string(again) != c.before {
			t.Errorf("%s: put back twice: %v %q", name, err, again)
		}
	}
}

func TestRemoveEnvironmentRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file string
		kind fault.Kind
	}{
		"not there":  {head + "environments:\n  prod: {}\n", fault.Usage},
		"a pattern":  {head + "environments:\n  \"q*\": {}\n", fault.Usage},
		"a base":     {head + "environments:\n  qa: {}\n  \"pr-*\": {base: qa}\n", fault.Refused},
		"default":    {head + "default_environment: qa\nenvironments:\n  qa: {}\n  prod: {}\n", fault.Refused},
		"flow style": {head + "environments: {qa: {}, prod: {}}\n", fault.Invalid},
	} {
		if _, _, _, err := RemoveEnvironment([]byte(c.file), "qa"); !fault.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The file may have been edited since: the entry goes after the last one, and
// where it fits nowhere, nothing is written.
func TestRestoreEnvironmentElsewhere(t *testing.T) {
	t.Parallel()
	_, text, at, err := RemoveEnvironment([]byte(head+"environments:\n  qa: {store: vault}\n  prod: {}\n"), "qa")
	if err != nil {
		t.Fatal(err)
	}
	back, err := RestoreEnvironment([]byte("# new\n"+head+"environments:\n  prod: {}\nstore: local\n"), "qa", text, at)
	if want := "# new\n" + head + "environments:\n  prod: {}\n  qa: {store: vault}\nstore: local\n"; err != nil || string(back) != want {
		t.Errorf("%v\n%s", err, back)
	}
	if back, err = RestoreEnvironment([]byte(head+"environments: {prod: {}}\n"), "qa", text, at); !fault.Is(err, fault.Conflict) {
		t.Errorf("%v\n%s", err, back)
	}
}
