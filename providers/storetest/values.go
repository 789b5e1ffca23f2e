package storetest

import (
	"fmt"
	"strings"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
)

var texts = map[string]string{
	"backslashes":     `C:\n\t\\ \u0000 \x00`,
	"bidi":            "a\u202eb\u2066c",
	"bom":             "\ufeffvalue",
	"braces":          `{{ .Data.data.K }} ${HOME} $(id) ` + "`id`",
	"control":         "\x01\x1b[31m\x7f\u0085",
	"crlf":            "a\r\nb\r\n",
	"empty":           "",
	"json":            `{"a":null,"b":[1,2.5e300]}`,
	"line separators": "a\u2028b\u2029c",
	"newlines":        "-----BEGIN KEY-----\nabc\n-----END KEY-----\n",
	"nul":             "a\x00b\x00",
	"null":            "null",
	"number":          "00012345678901234567890",
	"quotes":          `"' <>&`,
	"replacement":     "a\ufffdb",
	"spaces":          "  a \t ",
	"true":            "true",
	"unicode":         "pässwörd \U0001f511 e\u0301",
}

var notText = map[string]string{
	"high bytes": "\xff\xfe\x00\x80",
	"latin-1":    "p\xe4ss",
	"overlong":   "\xc0\xaf",
	"surrogate":  "\xed\xa0\x80",
	"truncated":  "\xe2\x82",
}

var valueTests = []test{
	{"texts", func(r *room) {
		want := map[string]secret.Value{}
		for name, s := range texts {
			want[name] = secret.New(s)
		}
		r.write(r.app(), providers.Absent, want)
		r.holds(r.app(), providers.Latest, want)
	}},
	{"texts one by one", func(r *room) {
		r.write(r.app(), providers.Absent, values("KEEP", "kept"))
		for _, name := range sorted(texts) {
			r.write(r.app(), providers.Any, values("K", texts[name]))
			r.holds(r.app(), providers.Latest, values("KEEP", "kept", "K", texts[name]))
		}
	}},
	{"empty is not absent", func(r *room) {
		r.write(r.app(), providers.Absent, values("A", "", "B", "x"))
		r.write(r.app(), 1, values("B", ""))
		r.write(r.app(), providers.Any, values("C", ""))
		r.holds(r.app(), providers.Latest, values("A", "", "B", "", "C", ""))
	}},
	{"not text", func(r *room) {
		for _, name := range sorted(notText) {
			p := r.path("staging", "bytes-"+strings.ReplaceAll(name, " ", "-"))
			r.write(p, providers.Absent, values("KEEP", "kept"))
			if r.h.TextOnly {
				r.unchanged(p, func() {
					for _, base := range []providers.Version{providers.Any, 1} {
						_, err := r.s.Write(r.Context(), p, base, values("K", notText[name]))
						r.fails("Write of "+name+" to a store of texts", err, fault.Refused)
					}
				})
				_, err := r.s.Write(r.Context(), r.path("other", "app"), providers.Absent, values("A", "fine", "K", notText[name]))
				r.fails("creation with "+name+" in a store of texts", err, fault.Refused)
				continue
			}
			r.write(p, providers.Any, values("K", notText[name]))
			r.holds(p, providers.Latest, values("KEEP", "kept", "K", notText[name]))
		}
		if r.h.TextOnly {
			r.lists(r.path("other", ""), nil)
		}
	}},
	{"one mebibyte", func(r *room) {
		r.write(r.app(), providers.Absent, values("KEEP", "kept"))
		for _, big := range []string{strings.Repeat("0123456789abcdef", 1<<16), strings.Repeat("\n\"\\\x01", 1<<18)} {
			before := r.read(r.app(), providers.Latest)
			v, err := r.s.Write(r.Context(), r.app(), before.Version, values("BIG", big))
			if err != nil { // a limit is allowed, said in words
				r.fails("Write of 1 MiB", err, fault.Refused, fault.Invalid)
				r.holds(r.app(), providers.Latest, before.Values)
				continue
			}
			r.holds(r.app(), v, values("KEEP", "kept", "BIG", big))
		}
	}},
	{"many keys", func(r *room) {
		want := map[string]secret.Value{}
		for i := range 1000 {
			want[fmt.Sprintf("KEY_%04d", i)] = secret.New(fmt.Sprint(i))
		}
		r.write(r.app(), providers.Absent, want)
		r.write(r.app(), providers.Any, values("KEY_0500", "changed"))
		want["KEY_0500"] = secret.New("changed")
		r.holds(r.app(), providers.Latest, want)
	}},
	{"odd keys", func(r *room) {
		want := values("facebook.consumer_key", "1", "lower", "2", "with space", "3", "ключ", "4", "a/b", "5", "\"q\"", "6", "__proto__", "7", "data", "8")
		r.write(r.app(), providers.Absent, want)
		for _, k := range sorted(want) {
			r.write(r.app(), providers.Any, map[string]secret.Value{k: secret.New("new")})
			want[k] = secret.New("new")
			r.holds(r.app(), providers.Latest, want)
		}
	}},
}
