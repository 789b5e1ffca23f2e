package secret

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"

	"envctl/internal/fault"
)

// SignJWT returns a JSON Web Token (RFC 7519) of claims, signed with key: the
// compact serialization of a JWS (RFC 7515, section 3.1) by HS256, which is HMAC
// with SHA-256 (RFC 7518, section 3.2).
func SignJWT(key Value, claims map[string]any) (Value, error) {
	body, err := json.Marshal(claims)
	if err != nil {
		return Value{}, fault.New(fault.Internal, "sign a token", "its claims cannot be written as JSON", "")
	}
	signed := encodeJWT([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encodeJWT(body)
	return New(signed + "." + encodeJWT(hs256(key, signed))), nil
}

func hs256(key Value, signed string) []byte {
	mac := hmac.New(sha256.New, []byte(key.Reveal()))
	mac.Write([]byte(signed))
	return mac.Sum(nil)
}

func encodeJWT(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
