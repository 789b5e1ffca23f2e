// Command asked prints what vault/api says of paths.
package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/vault/api"
)

func main() {
	paths := api.SudoPaths()
	for _, p := range slices.Sorted(maps.Keys(paths)) {
		fmt.Println(p, paths[p], api.IsSudoPath(p))
	}
	for _, p := range []string{"", "/sys/seal", "/sys/audit/file", "/sys/auth/approle", "/secret/data/app", "/sys/sealed"} {
		fmt.Println(p, api.IsSudoPath(p))
	}
}
