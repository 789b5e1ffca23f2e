package dotenv

import (
	"math/rand"
	"strings"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

// hardValues returns values that break careless quoting, and n random ones.
func hardValues(n int) []string {
	out := []string{
		"", "plain", "a b", " lead", "trail ", "a#b", "a #b", "#abc", "it's", `he "q"`, `it's "both"`, "$H", "${H}", "pa$word",
		"$$", "$", "100%", "`id`", "$(id)", "x;id", "a&b", "a|b", "<x>", "(x)", "a\nb", "a\n", "\n", "a\r\nb", "\r", "a\tb",
		`a\nb`, `C:\new\t`, `\`, `\\`, `trail\`, `'`, `"`, "''", `""`, `'"`, "`", "~", "~/x", "a:~/b", "=", "a=b", "é€😀", "\u00a0x",
		"\x00", "\xff", "\x1b[31m", "!x", "*", "{a,b}", "postgres://u:p%40ss@h:5432/db?sslmode=require",
		"-----BEGIN KEY-----\nMIIB\n-----END KEY-----\n", `{"a": "b's", "c": [1]}`, "b'gAAA='", strings.Repeat("x", 70<<10), bom + "x",
		"${{project.X}}", "${N:-d}", "# === X ===", "export A=1",
	}
	random := rand.New(rand.NewSource(11))
	chars := []rune("ab '\"\\$#`~:{}()=!\n\t;&|<>é-%")
	for range n {
		var b strings.Builder
		for range 1 + random.Intn(10) {
			b.WriteRune(chars[random.Intn(len(chars))])
		}
		out = append(out, b.String())
	}
	return out
}

// What Quote writes is read back equal, or it refuses in words without the value.
func TestQuoteIsReadBack(t *testing.T) {
	written := map[Dialect]int{}
	values := hardValues(300)
	for _, v := range values {
		for _, readers := range [][]Dialect{{Compose}, {Docker}, {Dokploy}, {Python}, {Sh}, {Compose, Python}, {Sh, Compose, Python}, nil} {
			q, err := Quote(secret.New(v), readers...)
			if err != nil {
				if !fault.Is(err, fault.Refused) || fault.HintOf(err) == "" {
					t.Errorf("%q: %v", v, err)
				}
				if len(v) > 3 && strings.Contains(err.Error()+fault.HintOf(err), v) {
					t.Errorf("the error shows the value: %v", err)
				}
				continue
			}
			if len(readers) == 1 {
				written[readers[0]]++
			}
			if len(readers) == 0 {
				readers = Dialects()
			}
			for _, d := range readers {
				r, err := ReadAs(d, "f", []byte("K="+q.Reveal()+"\n"), lookupEnv)
				if got := r.Values()["K"]; err != nil || !got.IsSet() || got.Reveal() != v || len(r.Problems) > 0 {
					t.Errorf("%s reads %.40q for %.40q (%v)", d, got.Reveal(), v, err)
				}
			}
		}
	}
	// A writer that refuses everything would pass the test above.
	for d, least := range map[Dialect]int{Sh: 95, Compose: 95, Python: 85, Docker: 55, Dokploy: 50} {
		if got := written[d] * 100 / len(values); got < least {
			t.Errorf("only %d %% of the hard values can be written for %s, want %d %%", got, d, least)
		}
	}
}

// The portable subset of the reference, for all readers at once.
func TestQuotePortable(t *testing.T) {
	for _, v := range []string{"", "AZaz09_!%*+,-./:=?@[]^{}", "dGVzdA==", "a,b", "https://h/p?q=1"} {
		q, err := Quote(secret.New(v))
		if err != nil || q.Reveal() != v {
			t.Errorf("%q: %v %v", v, q.Reveal(), err)
		}
	}
	for _, v := range []string{"a b", "a#b", `say "hi"`, `back\slash`} {
		if q, err := Quote(secret.New(v), Sh, Compose, Python, Dokploy); err != nil || q.Reveal() != "'"+v+"'" {
			t.Errorf("%q: %q %v", v, q.Reveal(), err)
		}
	}
	if _, err := Quote(secret.New("a b"), Docker, Sh); !fault.Is(err, fault.Refused) {
		t.Errorf("docker takes quotes literally, sh needs them: %v", err)
	}
}
