// Command envctl-op resolves 1Password references with the 1Password SDK for
// envctl, which starts it only when no other route is there: the SDK alone
// would double what every start of envctl costs, and it cannot be cancelled.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/1password/onepassword-sdk-go"

	"envctl/internal/harden"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Fprintln(os.Stderr, "envctl-op: envctl starts this program by itself and talks to it over standard input")
		os.Exit(2)
	}
	if _, err := harden.Process(); err != nil {
		fmt.Fprintln(os.Stderr, "envctl-op:", err)
		os.Exit(1)
	}
	if err := serve(context.Background(), os.Stdin, os.Stdout, open); err != nil {
		fmt.Fprintln(os.Stderr, "envctl-op:", err)
		os.Exit(1)
	}
}

// open starts the SDK, which takes seconds.
func open(ctx context.Context, token, version string) (secrets, error) {
	client, err := onepassword.NewClient(ctx,
		onepassword.WithServiceAccountToken(token), onepassword.WithIntegrationInfo("envctl", version))
	if err != nil {
		return nil, err
	}
	return client.Secrets(), nil
}
