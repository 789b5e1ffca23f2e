package embedded_test

import (
	"context"
	"fmt"
	"testing"

	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/embedded"
)

// The work behind `get`: 100 keys in ten versions, opened anew each time.
func BenchmarkReadOneOf100(b *testing.B) {
	c := desk(b, newFile(b), "tester")
	s := created(b, c)
	patch := providers.Patch{}
	for i := range 100 {
		patch[fmt.Sprintf("KEY_%03d", i)] = secret.New(fmt.Sprintf("value-%030d", i))
	}
	for base := range providers.Version(10) {
		if _, err := s.Write(context.Background(), app, base, patch); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if got := get(b, embedded.Open(c), "KEY_050"); got == "" {
				b.Fatal("nothing read")
			}
		}
	})
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			set(b, embedded.Open(c), providers.Any, "KEY_050", "new")
		}
	})
}
