package rolestest_test

import (
	"context"
	"testing"

	"envctl/internal/fault"
	"envctl/providers"
	"envctl/providers/rolestest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	for name, plural := range map[string]bool{"one password": false, "several": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rolestest.Run(t, func(*testing.T) rolestest.Fixture {
				s := rolestest.New(map[string]string{rolestest.App: rolestest.First, rolestest.Other: rolestest.First})
				s.Plural = plural
				return rolestest.Fixture{Roles: s, Self: alone{s}, Opens: s.Opens}
			})
		})
	}
}

// alone is the same server for those who know no administrator.
type alone struct{ *rolestest.Server }

func (alone) Administrator() string { return "" }

var errNobody = fault.New(fault.Refused, "log in", "no administrator is configured", "")

func (a alone) Role(ctx context.Context, as providers.Login, role string) (providers.Role, error) {
	if as.Role == "" {
		return providers.Role{}, errNobody
	}
	return a.Server.Role(ctx, as, role)
}

func (a alone) Allow(ctx context.Context, as, l providers.Login) error {
	if as.Role == "" {
		return errNobody
	}
	return a.Server.Allow(ctx, as, l)
}
