// Command asked prints what the modules that tools/release copies say.
package main

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/hashicorp/vault/api"
	"go.yaml.in/yaml/v3"
)

func main() {
	paths := api.SudoPaths()
	for _, p := range slices.Sorted(maps.Keys(paths)) {
		fmt.Println(p, paths[p], api.IsSudoPath(p))
	}
	for _, p := range []string{"", "/sys/seal", "/sys/audit/file", "/sys/auth/approle", "/secret/data/app", "/sys/sealed"} {
		fmt.Println(p, api.IsSudoPath(p))
	}
	req, err := http.NewRequest(http.MethodGet, "http://localhost/", http.NoBody)
	if err != nil {
		panic(err)
	}
	for _, text := range []string{"stopped after 10 redirects", "unsupported protocol scheme", "invalid header", "certificate is not trusted", "refused"} {
		again, err := retryablehttp.DefaultRetryPolicy(req.Context(), nil, &url.Error{Op: "Get", URL: "http://localhost/", Err: errors.New(text)})
		fmt.Println(text, again, err)
	}
	for _, text := range []string{"1.5", "-.5e3", "+1.", "1e", ".", "0x1p3", "1_0.5", "0o17", ".inf", "2001-01-01", "1:30"} {
		var v any
		fmt.Printf("%s %v", text, yaml.Unmarshal([]byte(text), &v))
		fmt.Printf(" %T %v\n", v, v)
	}
}
