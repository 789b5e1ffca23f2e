package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/1password/onepassword-sdk-go"

	"envctl/providers/onepassword/internal/wire"
)

const maxRequest = 16 << 20

// secrets is the part of the SDK that is used: one call for all references,
// since the SDK is not safe for concurrent use.
type secrets interface {
	ResolveAll(ctx context.Context, references []string) (onepassword.ResolveAllResponse, error)
}

type opener func(ctx context.Context, token, version string) (secrets, error)

// serve reads one request and writes one answer. An error means that not even
// an answer could be given; it never holds what was read.
func serve(ctx context.Context, in io.Reader, out io.Writer, open opener) error {
	var request wire.Request
	if err := json.NewDecoder(io.LimitReader(in, maxRequest)).Decode(&request); err != nil {
		return errors.New("the request cannot be read")
	}
	if err := json.NewEncoder(out).Encode(answer(ctx, request, open)); err != nil {
		return errors.New("the answer cannot be written")
	}
	return nil
}

func answer(ctx context.Context, request wire.Request, open opener) wire.Answer {
	version := request.Version
	if version == "" {
		version = onepassword.DefaultIntegrationVersion
	}
	sdk, err := open(ctx, request.Token, version)
	if err != nil {
		return wire.Answer{Failure: classify(err)}
	}
	got, err := sdk.ResolveAll(ctx, request.References)
	if err != nil {
		return wire.Answer{Failure: classify(err)}
	}
	answer := wire.Answer{Outcomes: map[string]wire.Outcome{}}
	for ref, response := range got.IndividualResponses {
		switch {
		case response.Error != nil:
			answer.Outcomes[ref] = wire.Outcome{Failure: unresolved(response.Error.Type)}
		case response.Content != nil:
			answer.Outcomes[ref] = wire.Outcome{Value: response.Content.Secret}
		}
	}
	return answer
}

// classify tells apart what the SDK only words: it has one error type that is
// of use here. Its text is not passed on, it may quote what it was given.
func classify(err error) *wire.Failure {
	var limited *onepassword.RateLimitExceededError
	said := strings.ToLower(err.Error())
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(said, w) {
				return true
			}
		}
		return false
	}
	switch {
	case errors.As(err, &limited), has("rate limit", "too many requests"):
		return &wire.Failure{Kind: wire.Unavailable, Message: "rate limited: 1Password allows a number of reads an hour and a day"}
	case has("service account token", "invalid user input", "unauthorized", "authentication", "forbidden"):
		return &wire.Failure{Kind: wire.Denied, Message: "1Password does not accept OP_SERVICE_ACCOUNT_TOKEN"}
	case has("network", "http", "request", "connect", "dns", "timed out", "timeout", "dial", "lookup"):
		return &wire.Failure{Kind: wire.Unavailable, Message: "the SDK cannot reach 1Password"}
	}
	return &wire.Failure{Kind: wire.Unavailable, Message: "the SDK ended with an error it does not classify"}
}

func unresolved(t onepassword.ResolveReferenceErrorTypes) *wire.Failure {
	kind, message := wire.Internal, "the SDK could not resolve it"
	switch t {
	case onepassword.ResolveReferenceErrorTypeVariantFieldNotFound:
		kind, message = wire.NotFound, "no such field"
	case onepassword.ResolveReferenceErrorTypeVariantIncompatibleSSHKeyQueryParameterField,
		onepassword.ResolveReferenceErrorTypeVariantSSHKeyMetadataNotFound,
		onepassword.ResolveReferenceErrorTypeVariantUnableToFormatPrivateKeyToOpenSSH,
		onepassword.ResolveReferenceErrorTypeVariantUnableToParsePrivateKey:
		kind, message = wire.Invalid, "the field is no usable ssh key"
	case onepassword.ResolveReferenceErrorTypeVariantIncompatibleTOTPQueryParameterField,
		onepassword.ResolveReferenceErrorTypeVariantUnableToGenerateTOTPCode:
		kind, message = wire.Invalid, "the field gives no one-time password"
	case onepassword.ResolveReferenceErrorTypeVariantItemNotFound:
		kind, message = wire.NotFound, "no such item"
	case onepassword.ResolveReferenceErrorTypeVariantNoMatchingSections:
		kind, message = wire.NotFound, "no such section"
	case onepassword.ResolveReferenceErrorTypeVariantOther:
	case onepassword.ResolveReferenceErrorTypeVariantParsing:
		kind, message = wire.Invalid, "the SDK does not read this reference"
	case onepassword.ResolveReferenceErrorTypeVariantTooManyItems:
		kind, message = wire.Invalid, "several items have this title"
	case onepassword.ResolveReferenceErrorTypeVariantTooManyMatchingFields:
		kind, message = wire.Invalid, "several fields have this name"
	case onepassword.ResolveReferenceErrorTypeVariantTooManyVaults:
		kind, message = wire.Invalid, "several vaults have this name"
	case onepassword.ResolveReferenceErrorTypeVariantUnsupportedFileFormat:
		kind, message = wire.Invalid, "the file is not text"
	case onepassword.ResolveReferenceErrorTypeVariantVaultNotFound:
		kind, message = wire.NotFound, "no such vault"
	}
	return &wire.Failure{Kind: kind, Message: message}
}
