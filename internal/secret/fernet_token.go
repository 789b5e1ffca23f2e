package secret

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"io"
	"time"
)

// A Fernet token, by https://github.com/fernet/spec/blob/master/Spec.md: version
// 0x80, the time in seconds (64 bits), IV, AES-128-CBC of the padded message, and
// the HMAC-SHA256 of all that; a key's first half signs, the second encrypts.
const (
	fernetVersion = 0x80
	fernetHead    = 1 + 8 + aes.BlockSize
)

// EncryptFernet encrypts message with the newest key of ring, as Python's
// MultiFernet does. Errors: those of ParseRing, and the random source's.
func EncryptFernet(ring Value, message []byte, now time.Time, random io.Reader) (Value, error) {
	keys, err := ParseRing(ring)
	if err != nil {
		return Value{}, err
	}
	raw, _ := decodeFernet(keys[0])
	return sealFernet(raw, message, now, random)
}

func sealFernet(raw Value, message []byte, now time.Time, random io.Reader) (Value, error) {
	token := make([]byte, fernetHead, fernetHead+len(message)+aes.BlockSize+sha256.Size)
	token[0] = fernetVersion
	binary.BigEndian.PutUint64(token[1:], uint64(now.Unix()))
	iv := token[fernetHead-aes.BlockSize : fernetHead]
	if _, err := io.ReadFull(random, iv); err != nil {
		return Value{}, err
	}
	block, err := aes.NewCipher([]byte(raw.Reveal())[fernetBytes/2:])
	if err != nil {
		return Value{}, err
	}
	padding := aes.BlockSize - len(message)%aes.BlockSize
	padded := append(bytes.Clone(message), bytes.Repeat([]byte{byte(padding)}, padding)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(padded, padded)
	token = append(token, padded...)
	return New(base64.URLEncoding.EncodeToString(append(token, signFernet(raw, token)...))), nil
}

// DecryptFernet returns the message of a token that a key of ring has made, of
// whatever age, and how manyeth key that is; false when none has.
func DecryptFernet(ring, token Value) (message []byte, key int, ok bool) {
	keys, err := ParseRing(ring)
	if err != nil {
		return nil, 0, false
	}
	for i, k := range keys {
		raw, _ := decodeFernet(k)
		if message, ok := openFernet(raw, token); ok {
			return message, i, true
		}
	}
	return nil, 0, false
}

func openFernet(raw, token Value) (message []byte, ok bool) {
	data, err := base64.URLEncoding.DecodeString(token.Reveal())
	size := len(data) - fernetHead - sha256.Size
	if err != nil || size < aes.BlockSize || size%aes.BlockSize != 0 || data[0] != fernetVersion {
		return nil, false
	}
	signed, sum := data[:len(data)-sha256.Size], data[len(data)-sha256.Size:]
	block, err := aes.NewCipher([]byte(raw.Reveal())[fernetBytes/2:])
	if err != nil || !hmac.Equal(signFernet(raw, signed), sum) {
		return nil, false
	}
	text := bytes.Clone(signed[fernetHead:])
	cipher.NewCBCDecrypter(block, signed[fernetHead-aes.BlockSize:fernetHead]).CryptBlocks(text, text)
	padding := int(text[size-1])
	if padding < 1 || padding > aes.BlockSize || !bytes.Equal(text[size-padding:], bytes.Repeat([]byte{byte(padding)}, padding)) {
		return nil, false
	}
	return text[:size-padding], true
}

func signFernet(raw Value, signed []byte) []byte {
	mac := hmac.New(sha256.New, []byte(raw.Reveal())[:fernetBytes/2])
	mac.Write(signed)
	return mac.Sum(nil)
}
