// Command vault is the real Vault server and client, built from the module
// proxy for the tests; nothing that envctl ships links it.
package main

import (
	"os"

	"github.com/hashicorp/vault/command"
)

func main() { os.Exit(command.Run(os.Args[1:])) }
