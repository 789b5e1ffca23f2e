// Command asked prints what the modules that tools/release copies say.
package main

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"filippo.io/age"
	"github.com/hashicorp/go-retryablehttp"
	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/go-sockaddr"
	"github.com/hashicorp/vault/api"
	"github.com/mgutz/ansi"
	"go.yaml.in/yaml/v3"
)

// passphrase takes no work factor: what is asked is how it is read.
func passphrase() *age.ScryptIdentity {
	id, err := age.NewScryptIdentity("passphrase")
	if err != nil {
		panic(err)
	}
	id.SetMaxWorkFactor(1)
	return id
}

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
		again, err := yaml.Marshal(text)
		fmt.Printf(" %T %v %s %v\n", v, v, again, err)
	}
	for _, size := range []any{"10", "1 KiB", "2mb", "3gib", "x", "1.5kb", 7} {
		n, err := parseutil.ParseCapacityString(size)
		fmt.Println(size, n, err)
	}
	for _, factor := range []string{"18", "0", "x", "007"} {
		_, err := age.Decrypt(strings.NewReader("age-encryption.org/v1\n-> scrypt rF0/NwblUHHTpgQgRpe5CQ "+factor+
			"\ngUjEymFKMVXQEKdMMHL24oYexjE3TIC0O0zGSqJ2aUY\n--- 6eX1qkzdAiRNL1sJ2DNFzzsI9kmpCDaPhhv3cRUBuDo\n"), passphrase())
		fmt.Println(factor, err)
	}
	for _, style := range []string{"red", "default+hb", "cyan+b", "200+u:17", "0:255", "reset", "off", "", "nonsense"} {
		fmt.Printf("%s %q\n", style, ansi.ColorCode(style))
	}
	for _, by := range []string{"+5", "-1", "5"} {
		moved, err := sockaddr.IfAddrsMath("address", by, sockaddr.IfAddrs{{SockAddr: sockaddr.MustIPv4Addr("10.0.0.1/24")}})
		fmt.Println(by, moved, err)
	}
}
