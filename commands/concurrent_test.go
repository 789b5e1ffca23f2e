package commands_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// Twenty processes that each set twenty variables of one embedded store at the
// same time lose none of those that were acknowledged.
func TestSetConcurrently(t *testing.T) {
	t.Parallel()
	const writers, each = 20, 20
	dir, env := folder(t)
	env = append(env, "ENVCTL_ENV=staging")
	if out, err := command(t, dir, env, "set", "FIRST", "--generate", "token").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var wg sync.WaitGroup
	lost := make(chan string, writers*each)
	for w := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range each {
				key := fmt.Sprintf("W%d_K%d", w, i)
				set := command(t, dir, env, "set", key, "--stdin")
				set.Stdin = strings.NewReader("value of " + key)
				if out, err := set.CombinedOutput(); err != nil {
					lost <- fmt.Sprintf("%s: %v\n%s", key, err, out)
				}
			}
		}()
	}
	wg.Wait()
	close(lost)
	for l := range lost {
		t.Error("not acknowledged: " + l)
	}
	out, err := command(t, dir, env, "list", "--reveal", "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Keys []struct{ Key, Value string }
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		t.Fatal(err)
	}
	have := map[string]string{}
	for _, k := range doc.Keys {
		have[k.Key] = k.Value
	}
	for w := range writers {
		for i := range each {
			if key := fmt.Sprintf("W%d_K%d", w, i); have[key] != "value of "+key {
				t.Errorf("%s is %q", key, have[key])
			}
		}
	}
	if len(have) != writers*each+1 {
		t.Errorf("%d variables", len(have))
	}
}
