package secret

import "slices"

// Default is a value that an application, a manual or a standard publishes as
// a default or an example, and that therefore protects nothing.
type Default struct {
	Type  string // the generator's name
	Value string
	Where string
}

// published are the values, sorted by type and then by value. Each was read where
// it is published.
var published = [...]Default{ //nolint:gochecknoglobals // a constant table
	{"fernet", "-ZAF_IzCwtJ3MQHXJNyGEWPTD46R-uPjlMVd_0fllVY=", "Diffgram's development settings"},
	{"fernet", "46BKJoQYlPPOexq0OhDZnIlNepKFf87WFwLbfzqDDho=", "the Airflow images' manuals"},
	{"fernet", "81HqDtbqAywKSOumSha3BhWNOdQ26slT6K0YaZeZyPs=", "Airflow's examples"},
	{"fernet", "NeL_RED6zZ1XF3XT7Yd1hzFPYyebrg6UdkECTOLHEdI=", "Diffgram's default settings"},
	{"fernet", "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=", "the Fernet specification"},
	{"fernet", "jJ/9sz0g0OHxsfxOoSfdFdmk3ysNmPRnH3TUAbz3IHA=", "OpenMetadata's default settings"},
	{"hex", "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7", "FastAPI's tutorial"},
	{"hex", "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf", "Flask's manual"},
	{"jwt", "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow", "RFC 7515"},
	{"jwt", "CHANGE_ME_TO_A_COMPLEX_RANDOM_SECRET", "Superset's default settings"},
	{"jwt", "a-string-secret-at-least-256-bits-long", "jwt.io"},
	{"jwt", "default_inter_service_secret", "Diffgram's default settings"},
	{"jwt", "super-secret-jwt-token-with-at-least-32-characters-long", "Supabase's local development"},
	{"jwt", "thisISaSECRET_1234", "Superset's deployment template"},
	{"jwt", "your-256-bit-secret", "jwt.io"},
	{"jwt", "your-super-secret-jwt-token-with-at-least-32-characters-long", "Supabase's self-hosting example"},
}

// Defaults returns the published values that envctl refuses, sorted by type and
// then by value.
func Defaults() []Default { return slices.Clone(published[:]) }

// Published tells where a value is published, if it is. A Fernet key is found
// in any spelling of its 32 bytes.
func Published(v Value) (where string, ok bool) {
	raw, fernet := decodeFernet(v)
	for _, d := range published {
		if v.Reveal() == d.Value {
			return d.Where, true
		}
		if fernet && d.Type == "fernet" {
			if known, _ := decodeFernet(New(d.Value)); known.Equal(raw) {
				return d.Where, true
			}
		}
	}
	return "", false
}
