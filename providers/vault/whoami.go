package vault

import (
	"context"
	"net/url"
	"slices"
	"time"

	"envctl/internal/fault"
)

const lookupSelf = "auth/token/lookup-self"

// Identity is what the server says of the token in use.
type Identity struct {
	Name      string   // display name
	Accessor  string   // names the token, and is no secret
	Policies  []string // sorted
	TTL       time.Duration
	Expires   time.Time // zero: never
	Renewable bool
	Period    time.Duration // 0: not periodic
}

// Root tells a token that may do everything.
func (i Identity) Root() bool { return slices.Contains(i.Policies, "root") }

// Whoami asks the token about itself. Kinds: Expired (not valid), Denied (may
// not ask), Sealed, Unavailable.
func (s *Store) Whoami(ctx context.Context) (Identity, error) {
	const op = "look up the token"
	ctx, cancel := s.within(ctx)
	defer cancel()
	a, err := s.get(ctx, op, lookupSelf, nil)
	if err != nil {
		return Identity{}, err
	}
	var answer struct {
		Data *struct {
			Name      string    `json:"display_name"`
			Accessor  string    `json:"accessor"`
			Policies  []string  `json:"policies"`
			Identity  []string  `json:"identity_policies"`
			TTL       int64     `json:"ttl"`
			Period    int64     `json:"period"`
			Expires   time.Time `json:"expire_time"`
			Renewable bool      `json:"renewable"`
		} `json:"data"`
	}
	if err := decode(a, &answer); err != nil || answer.Data == nil || answer.Data.Policies == nil {
		return Identity{}, s.fail(ctx, op, errNotVault)
	}
	d := answer.Data
	policies := append(d.Policies, d.Identity...)
	slices.Sort(policies)
	return Identity{
		Name: d.Name, Accessor: d.Accessor, Policies: slices.Compact(policies), TTL: time.Duration(d.TTL) * time.Second,
		Expires: d.Expires.UTC(), Renewable: d.Renewable, Period: time.Duration(d.Period) * time.Second,
	}, nil
}

// Health is what a server says of itself to anyone.
type Health struct {
	Version, Cluster             string
	Initialized, Sealed, Standby bool
	Time                         time.Time // the server's clock
}

// Health asks without a token; a sealed or standby server is an answer, not an
// error. Kind: Unavailable.
func (s *Store) Health(ctx context.Context) (Health, error) {
	const op = "ask for vault's health"
	ctx, cancel := s.within(ctx)
	defer cancel()
	// Every state is asked to be answered with 200: the body tells them apart.
	a, err := s.get(ctx, op, "sys/health", url.Values{
		"drsecondarycode": {"200"}, "performancestandbycode": {"200"}, "sealedcode": {"200"},
		"standbycode": {"200"}, "uninitcode": {"200"},
	})
	if err != nil {
		return Health{}, err
	}
	var answer struct {
		Version     string `json:"version"`
		Cluster     string `json:"cluster_name"`
		Initialized *bool  `json:"initialized"`
		Sealed      bool   `json:"sealed"`
		Standby     bool   `json:"standby"`
		Time        int64  `json:"server_time_utc"`
	}
	if err := decode(a, &answer); err != nil {
		return Health{}, s.fail(ctx, op, err)
	}
	if !a.found() || answer.Initialized == nil {
		return Health{}, fault.Wrap(errNotVault, fault.Unavailable, op, "check that VAULT_ADDR ("+s.base.String()+") is a Vault server")
	}
	return Health{
		Version: answer.Version, Cluster: answer.Cluster, Initialized: *answer.Initialized,
		Sealed: answer.Sealed, Standby: answer.Standby, Time: time.Unix(answer.Time, 0).UTC(),
	}, nil
}
