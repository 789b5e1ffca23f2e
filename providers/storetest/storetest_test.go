package storetest_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
	"envctl/providers/memory"
	"envctl/providers/storetest"
)

// broken is a memory store with one planted fault.
type broken struct {
	*memory.Store
	fault string
}

// plants maps each planted fault to a subtest that has to notice it.
var plants = map[string]string{
	"any-ignores-deleted":    "lifecycle/write_on_deleted",
	"blind-create":           "write/create_on_existing",
	"cas-dropped":            "concurrent/one_winner",
	"ctx-ignored":            "errors/cancelled",
	"deleted-not-found":      "lifecycle/delete_the_newest",
	"empty-removes":          "values/empty_is_not_absent",
	"error-tells-value":      "errors/never_hold_a_value",
	"list-by-string-prefix":  "read/list",
	"merge-on-destroyed":     "model/random_operations",
	"meta-replaced":          "metadata/custom",
	"no-metadata":            "metadata/current",
	"path-unchecked":         "errors/hostile_paths",
	"read-merge-write":       "concurrent/distinct_keys",
	"siblings-lost":          "write/any",
	"trimmed":                "values/texts",
	"undelete-newest-always": "lifecycle/undelete",
	"utf8-replaced":          "values/not_text",
}

func (b broken) Write(ctx context.Context, p naming.Path, base providers.Version, patch providers.Patch) (providers.Version, error) {
	switch b.fault {
	case "any-ignores-deleted":
		if h, err := b.History(ctx, p); err == nil && base == providers.Any {
			base = h[len(h)-1].Version
		}
	case "blind-create":
		if base == providers.Absent {
			if v, err := b.Store.Write(ctx, p, providers.Any, patch); err == nil {
				return v, nil
			}
		}
	case "cas-dropped":
		if base > 0 {
			base = providers.Any
		}
	case "ctx-ignored":
		ctx = context.WithoutCancel(ctx)
	case "empty-removes":
		for k, v := range patch {
			if v.IsSet() && v.Len() == 0 {
				patch[k] = secret.Value{}
			}
		}
	case "error-tells-value":
		v, err := b.Store.Write(ctx, p, base, patch)
		if err != nil {
			return v, fault.Wrap(err, fault.KindOf(err), "write "+patch["K"].Reveal(), "")
		}
		return v, nil
	case "merge-on-destroyed": // what is left of an older version comes back
		h, err := b.History(ctx, p)
		if n := len(h); err == nil && n > 1 && h[n-1].Destroyed && base == h[n-1].Version {
			if old, err := b.Store.Read(ctx, p, h[n-2].Version); err == nil {
				for k, v := range patch {
					old.Values[k] = v
				}
				patch = old.Values
			}
		}
	case "path-unchecked":
		if p.Check() != nil && base == providers.Any {
			return 1, nil
		}
	case "read-merge-write":
		if base == providers.Any {
			old, err := b.Read(ctx, p, providers.Latest)
			if err != nil {
				return 0, err
			}
			time.Sleep(time.Millisecond)
			for k, v := range patch {
				old.Values[k] = v
			}
			for k := range b.mustRead(ctx, p) {
				if _, ok := old.Values[k]; !ok {
					old.Values[k] = secret.Value{}
				}
			}
			patch = old.Values
		}
	case "siblings-lost":
		if base == providers.Any {
			whole := providers.Patch{}
			for k := range b.mustRead(ctx, p) {
				whole[k] = secret.Value{}
			}
			for k, v := range patch {
				whole[k] = v
			}
			patch = whole
		}
	case "trimmed", "utf8-replaced":
		for k, v := range patch {
			s := strings.ToValidUTF8(v.Reveal(), "\ufffd")
			if b.fault == "trimmed" {
				s = strings.TrimSpace(v.Reveal())
			}
			if v.IsSet() {
				patch[k] = secret.New(s)
			}
		}
	}
	return b.Store.Write(ctx, p, base, patch)
}

func (b broken) mustRead(ctx context.Context, p naming.Path) map[string]secret.Value {
	bundle, err := b.Store.Read(ctx, p, providers.Latest)
	if err != nil {
		return nil
	}
	return bundle.Values
}

func (b broken) Read(ctx context.Context, p naming.Path, v providers.Version) (providers.Bundle, error) {
	got, err := b.Store.Read(ctx, p, v)
	if b.fault == "deleted-not-found" && fault.Is(err, fault.Deleted) {
		err = fault.Wrap(err, fault.NotFound, "read", "")
	}
	return got, err
}

func (b broken) List(ctx context.Context, prefix naming.Path) ([]naming.Path, error) {
	if b.fault != "list-by-string-prefix" || prefix.Project == "" {
		return b.Store.List(ctx, prefix)
	}
	all, err := b.Store.List(ctx, naming.Path{})
	var found []naming.Path
	for _, p := range all {
		if strings.HasPrefix(p.String(), prefix.String()) {
			found = append(found, p)
		}
	}
	return found, err
}

func (b broken) Undelete(ctx context.Context, p naming.Path, v ...providers.Version) error {
	if b.fault == "undelete-newest-always" {
		return nil
	}
	return b.Store.Undelete(ctx, p, v...)
}

func (b broken) PatchMeta(ctx context.Context, p naming.Path, custom map[string]string) error {
	if b.fault == "meta-replaced" {
		m, err := b.Meta(ctx, p)
		if err != nil {
			return err
		}
		for k := range m.Custom {
			if _, ok := custom[k]; !ok {
				custom[k] = ""
			}
		}
	}
	return b.Store.PatchMeta(ctx, p, custom)
}

// plain has none of memory's optional abilities.
type plain struct{ providers.Store }

const plantVariable = "STORETEST_PLANT"

// TestPlanted is the suite on a broken store, for TestSuiteNoticesFaults only.
func TestPlanted(t *testing.T) {
	planted := os.Getenv(plantVariable)
	storetest.Run(t, func(*testing.T) providers.Store {
		s := memory.New("tester", time.Now)
		switch planted {
		case "":
			return s
		case "no-metadata":
			return plain{s}
		}
		return broken{s, planted}
	})
}

func TestSuiteNoticesFaults(t *testing.T) {
	for planted, subtest := range plants {
		t.Run(planted, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPlanted$")
			cmd.Env = append(os.Environ(), plantVariable+"="+planted)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestPlanted/"+subtest+" ") {
				t.Errorf("the suite did not notice in %s: %v\n%s", subtest, err, out)
			}
		})
	}
}
