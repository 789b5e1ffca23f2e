// Command loop does what rotating many secrets needs of a Vault and nothing else:
// for each path it reads the newest version and writes one key of it by
// check-and-set, several paths at a time. With back it reads again what it wrote.
//
//	loop ADDRESS TOKEN PREFIX PATHS PARALLEL [back]
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"

	"golang.org/x/sync/errgroup"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "loop:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 5 && (len(args) != 6 || args[5] != "back") {
		return errors.New("loop ADDRESS TOKEN PREFIX PATHS PARALLEL [back]")
	}
	paths, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	parallel, err := strconv.Atoi(args[4])
	if err != nil {
		return err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: parallel}
	client := &http.Client{Transport: transport}
	group, ctx := errgroup.WithContext(context.Background())
	group.SetLimit(parallel)
	for i := range paths {
		group.Go(func() error {
			address := args[0] + "/v1/" + args[2] + fmt.Sprintf("%03d", i)
			err := rotate(ctx, client, address, args[1])
			if err == nil && len(args) == 6 {
				err = ask(ctx, client, http.MethodGet, address, args[1], nil, nil)
			}
			return err
		})
	}
	return group.Wait()
}

func rotate(ctx context.Context, client *http.Client, address, token string) error {
	var answer struct {
		Data struct {
			Data     map[string]string `json:"data"`
			Metadata struct {
				Version int `json:"version"`
			} `json:"metadata"`
		} `json:"data"`
	}
	if err := ask(ctx, client, http.MethodGet, address, token, nil, &answer); err != nil {
		return err
	}
	fresh := make([]byte, 32)
	if _, err := rand.Read(fresh); err != nil {
		return err
	}
	body := map[string]any{
		"data": map[string]string{"SECRET_KEY": hex.EncodeToString(fresh)}, "options": map[string]int{"cas": answer.Data.Metadata.Version},
	}
	return ask(ctx, client, http.MethodPatch, address, token, body, nil)
}

func ask(ctx context.Context, client *http.Client, method, address, token string, body, into any) error {
	var text bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&text).Encode(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, address, &text)
	if err != nil {
		return err
	}
	req.Header.Set("X-Vault-Token", token)
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s answered %d", method, address, res.StatusCode)
	}
	if into != nil {
		return json.NewDecoder(res.Body).Decode(into)
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err
}
