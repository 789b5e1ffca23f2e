package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sdk "github.com/1password/onepassword-sdk-go"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers/onepassword"
	"envctl/providers/onepassword/internal/wire"
)

const canary = "canary-5d20aa"

// TestMain lets this test binary stand for the program itself.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == onepassword.HelperName {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type fake struct {
	response sdk.ResolveAllResponse
	err      error
	asked    []string
}

func (f *fake) ResolveAll(_ context.Context, refs []string) (sdk.ResolveAllResponse, error) {
	f.asked = append(f.asked, refs...)
	return f.response, f.err
}

func ask(t *testing.T, open opener) wire.Answer {
	t.Helper()
	var out strings.Builder
	if err := serve(t.Context(), strings.NewReader(`{"token":"ops_x","references":["op://v/i/a","op://v/i/b"]}`), &out, open); err != nil {
		t.Fatal(err)
	}
	var a wire.Answer
	if err := json.Unmarshal([]byte(out.String()), &a); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestServe(t *testing.T) {
	t.Parallel()
	notFound := sdk.NewResolveReferenceErrorTypeVariantFieldNotFound()
	f := &fake{response: sdk.ResolveAllResponse{IndividualResponses: map[string]sdk.Response[sdk.ResolvedReference, sdk.ResolveReferenceError]{
		"op://v/i/a": {Content: &sdk.ResolvedReference{Secret: canary}},
		"op://v/i/b": {Error: &notFound},
	}}}
	a := ask(t, func(_ context.Context, token, version string) (secrets, error) {
		if token != "ops_x" || version == "" {
			t.Errorf("token or version %q not passed on", version)
		}
		return f, nil
	})
	if a.Failure != nil || a.Outcomes["op://v/i/a"].Value != canary || a.Outcomes["op://v/i/b"].Failure.Kind != wire.NotFound || len(f.asked) != 2 {
		t.Errorf("%+v after %q", a, f.asked)
	}
	if err := serve(t.Context(), strings.NewReader(canary), &strings.Builder{}, nil); err == nil || strings.Contains(err.Error(), canary) {
		t.Error(err)
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	for said, want := range map[error]string{
		&sdk.RateLimitExceededError{}: wire.Unavailable,
		errors.New("error initializing client: invalid service account token, please make sure you provide a valid service account token: " + canary): wire.Denied,
		errors.New("an http error occurred: dns lookup"): wire.Unavailable,
		errors.New("something new " + canary):            wire.Unavailable,
	} {
		a := ask(t, func(context.Context, string, string) (secrets, error) { return &fake{err: said}, nil })
		if a.Failure == nil || a.Failure.Kind != want || strings.Contains(a.Failure.Message, canary) {
			t.Errorf("%v became %+v, want %s", said, a.Failure, want)
		}
		a = ask(t, func(context.Context, string, string) (secrets, error) { return nil, said })
		if a.Failure == nil || a.Failure.Kind != want {
			t.Errorf("%v at the start became %+v, want %s", said, a.Failure, want)
		}
	}
	limited := classify(&sdk.RateLimitExceededError{})
	if !strings.Contains(limited.Message, "rate limited") {
		t.Error(limited.Message)
	}
	for _, v := range []struct {
		is   sdk.ResolveReferenceErrorTypes
		kind string
	}{
		{sdk.ResolveReferenceErrorTypeVariantVaultNotFound, wire.NotFound},
		{sdk.ResolveReferenceErrorTypeVariantItemNotFound, wire.NotFound},
		{sdk.ResolveReferenceErrorTypeVariantNoMatchingSections, wire.NotFound},
		{sdk.ResolveReferenceErrorTypeVariantTooManyItems, wire.Invalid},
		{sdk.ResolveReferenceErrorTypeVariantUnableToGenerateTOTPCode, wire.Invalid},
		{sdk.ResolveReferenceErrorTypeVariantOther, wire.Internal},
		{"new", wire.Internal},
	} {
		if got := unresolved(v.is); got.Kind != v.kind || got.Message == "" {
			t.Errorf("%s became %+v", v.is, got)
		}
	}
}

func resolver(t *testing.T) *onepassword.Resolver {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	helper := filepath.Join(t.TempDir(), onepassword.HelperName)
	if err := os.Symlink(self, helper); err != nil {
		t.Fatal(err)
	}
	return onepassword.New(onepassword.Config{ServiceAccountToken: secret.New("ops_" + canary), Helper: helper})
}

// The real SDK, in its own process, through the real Resolver.
func TestRealSDKRefusesAMalformedToken(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := resolver(t).Resolve(ctx, "op://v/i/f")
	if !fault.Is(err, fault.Denied) || strings.Contains(err.Error(), canary) || !strings.Contains(err.Error(), "op://v/i/f") {
		t.Errorf("%v (%v)", err, fault.KindOf(err))
	}
}

// The SDK itself cannot be cancelled; its process can.
func TestRealSDKIsLeftAtOnce(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := resolver(t).Resolve(ctx, "op://v/i/f")
	if took := time.Since(start); !fault.Is(err, fault.Unavailable) || took > 3*time.Second {
		t.Errorf("%v after %v", err, took)
	}
}
