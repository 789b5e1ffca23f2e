package dokploy

import (
	"maps"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
)

func taking(values ...string) providers.Release {
	r := providers.Release{
		Project: "p", Environment: "staging", Component: "app", Marker: "0123456789abcdef",
		Services: []providers.Service{{Name: "web", Container: "p-web-staging"}}, Values: map[string]secret.Value{},
	}
	for i := 0; i < len(values); i += 2 {
		r.Values[values[i]] = secret.New(values[i+1])
	}
	return r
}

// What a release took over goes back to the very text that was there.
func FuzzTakeOver(f *testing.F) {
	for _, text := range []string{
		"", "KEY=old", "KEY=old\nOTHER=1\n", "KEY: old\nOTHER=1\n", "KEY=first\nOTHER=1\nKEY=second\n", "\uFEFFKEY=old\r\nOTHER=1\r\n",
		"\uFEFF", "OTHER=1\r\nKEY=\"a\r\nb\"\r\n", "export KEY = `a\nb` # why\nOTHER=${{project.KEY}}\n", "KEY=${{project.KEY}}\n", "KEY='a\nOTHER=1\n", "KEY\nKEY=1 \n", "OTHER=1\r\nKEY=", "KEY=\r\nOTHER=1\r\n",
		"KEY=a#b\nENV=old\n", "  KEY =\nOTHER=\n", "OTHER=1\n\n\n", "# no end", "# no end\r\n#", "# n\nend\r", "#only\r", "KEY=\nOTHER=2\n", "OTHER='\nKEY=1\n'\nKEY=2\n", "KEY.X=1\nKEY-X=2\nKEY=3\n", "\rKEY=1\rOTHER=2\r",
	} {
		f.Add(text, "new")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		r := taking("KEY", value, "NEW", "x")
		if err := check(r); err != nil {
			return
		}
		lines, released, err := foreign(secret.New(text), r)
		if err != nil || released {
			return
		}
		r.Known = maps.Clone(lines)
		after, err := edit(secret.New(text), r)
		if err != nil {
			return
		}
		bare := taking()
		bare.Was = func(string) (map[string]secret.Value, error) { return r.Values, nil }
		back, err := putBack(after, bare, lines, false)
		if err != nil {
			t.Fatalf("%q, released as %q, does not go back: %v", text, after.Reveal(), err)
		}
		if got := back.Reveal(); got != text {
			t.Fatalf("%q, released as %q, came back as %q", text, after.Reveal(), got)
		}
	})
}

const notes = "ENV=staging\nENVCTL_RELEASE=0123456789abcdef\n"

// A release that is no longer there said KEY=old and GONE=old.
func before(t *testing.T) func(string) (map[string]secret.Value, error) {
	return func(marker string) (map[string]secret.Value, error) {
		if marker != "0123456789abcdef" {
			t.Errorf("asked for the release %q", marker)
		}
		return taking("KEY", "old", "GONE", "old").Values, nil
	}
}

// A line that somebody changed after a release wrote it is as much theirs as one
// that no release ever wrote.
func TestLinesChangedAfterARelease(t *testing.T) {
	t.Parallel()
	const managed = notes + "ENVCTL_VARIABLES=GONE,KEY\n"
	for _, c := range []struct{ name, text, foreign, after string }{
		{"as released", managed + "KEY=old\nGONE=old\n", "", notes + "ENVCTL_VARIABLES=KEY\nKEY=new\n"},
		{"changed", managed + "KEY='typed' # why\nGONE=old\n", "KEY='typed' # why", notes + "ENVCTL_VARIABLES=KEY\nKEY='new' # why\n"},
		{"changed, then retired", managed + "KEY=old\nGONE=typed\n", "GONE=typed", notes + "ENVCTL_VARIABLES=KEY\nKEY=new\n"},
		{"changed to what comes", managed + "KEY=new\nGONE=old\n", "", notes + "ENVCTL_VARIABLES=KEY\nKEY=new\n"},
		{"of an unknown release", managed + "KEY=x\nGONE=y\n", "", notes + "ENVCTL_VARIABLES=KEY\nKEY=new\n"},
	} {
		r := taking("KEY", "new")
		r.Was, r.Known = before(t), map[string]secret.Value{}
		if c.name == "of an unknown release" {
			r.Was = func(string) (map[string]secret.Value, error) { return nil, nil }
		}
		lines, released, err := foreign(secret.New(c.text), r)
		if err != nil || !released {
			t.Fatal(c.name, released, err)
		}
		var got string
		for _, line := range lines {
			got += line.Reveal()
		}
		if got != c.foreign {
			t.Errorf("%s: takes over %q, want %q", c.name, got, c.foreign)
		}
		if _, err := edit(secret.New(c.text), r); c.foreign != "" && !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: overwritten before it was kept: %v", c.name, err)
		}
		r.Known = lines
		after, err := edit(secret.New(c.text), r)
		if err != nil || after.Reveal() != c.after {
			t.Errorf("%s: became %q, want %q: %v", c.name, after.Reveal(), c.after, err)
		}
	}
}

// What somebody typed after a take-over is newer than what was kept of them.
func TestNewerLinesStay(t *testing.T) {
	t.Parallel()
	kept := map[string]secret.Value{"KEY": secret.New("KEY=kept"), "GONE": secret.New("GONE=kept")}
	for _, c := range []struct {
		name, text string
		released   bool
		want       string
	}{
		{"never overwritten", "KEY=typed\nGONE=typed\n", false, "KEY=typed\nGONE=typed\n"},
		{"changed since", notes + "ENVCTL_VARIABLES=GONE,KEY,X\nX=typed\nKEY=typed\nGONE=old\n", false, "X=typed\nKEY=typed\nGONE=kept\n"},
		{"changed since, beside a release", notes + "ENVCTL_VARIABLES=GONE,KEY,X\nX=typed\nKEY=typed\nGONE=old\n", true, notes + "ENVCTL_VARIABLES=NEW\nX=typed\nKEY=typed\nGONE=kept\nNEW=n\n"},
		{"taken out since", notes + "ENVCTL_VARIABLES=GONE,KEY\nGONE=old\n", false, "GONE=kept\nKEY=kept\n"},
	} {
		r := taking("NEW", "n", "X", "x")
		r.Was = func(m string) (map[string]secret.Value, error) {
			all, err := before(t)(m)
			all["X"] = secret.New("old")
			return all, err
		}
		got, err := putBack(secret.New(c.text), r, kept, c.released)
		if err != nil || got.Reveal() != c.want {
			t.Errorf("%s: became %q, want %q: %v", c.name, got.Reveal(), c.want, err)
		}
	}
}

// To take a variable away takes all its lines, and only one of them was a release's.
func TestRetiredWithALineOfSomebodyElses(t *testing.T) {
	t.Parallel()
	_, err := edit(secret.New("KEY=typed\nKEY=old\nENVCTL_VARIABLES=KEY\n"), taking("NEW", "n"))
	if !fault.Is(err, fault.Refused) {
		t.Fatal(err)
	}
}
