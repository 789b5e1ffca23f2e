package playbooks

import (
	"context"
	"slices"
	"time"

	"envctl/internal/config"
	"envctl/internal/secret"
	"envctl/providers"
)

// The keys of a path's custom metadata that rotations know: when its values were
// rotated last (RFC 3339), and how old the values of recipes without an every may
// become (90d).
const (
	metaRotatedAt   = "rotated_at"
	metaRotateEvery = "rotate_every"
)

// Age says since when a value stands.
type Age struct {
	Since time.Time
	// AtLeast says that it may stand longer: the store dropped the versions that
	// would tell.
	AtLeast bool
}

// past reads the versions of one path, each of them once.
type past struct {
	r         providers.Reader
	cur       providers.Bundle
	revisions []providers.Revision
	read      map[providers.Version]providers.Bundle
}

// age returns since when the store knows what same takes for the value that key has
// now: the time of the oldest version that holds it, whatever stood in between, so
// that a rotation that was taken back makes nothing younger. Where the versions that
// would tell were dropped it is rotated_at.
func (p *past) age(ctx context.Context, key string, same func(a, b secret.Value) bool) (Age, error) {
	a := Age{Since: p.cur.Created, AtLeast: p.cur.Version > 1}
	if err := p.look(ctx); err != nil {
		return Age{}, err
	}
	for _, rev := range p.revisions {
		if !p.readable(rev) {
			continue
		}
		b, err := p.at(ctx, rev.Version)
		if err != nil {
			return Age{}, err
		}
		if same(b.Values[key], p.cur.Values[key]) {
			a.Since, a.AtLeast = b.Created, a.AtLeast && b.Version > 1
			break
		}
		a.AtLeast = false
	}
	if at, err := time.Parse(time.RFC3339, p.cur.Custom[metaRotatedAt]); err == nil && a.AtLeast && at.Before(a.Since) {
		a = Age{Since: at.UTC()}
	}
	return a, nil
}

// since returns when key got the value it has now: the time of the oldest version of
// the newest run of versions that hold it.
func (p *past) since(ctx context.Context, key string) (time.Time, error) {
	since := p.cur.Created
	if err := p.look(ctx); err != nil {
		return since, err
	}
	for _, rev := range slices.Backward(p.revisions) {
		if !p.readable(rev) {
			continue
		}
		b, err := p.at(ctx, rev.Version)
		if err != nil || !b.Values[key].Equal(p.cur.Values[key]) {
			return since, err
		}
		since = b.Created
	}
	return since, nil
}

// look reads which versions there are, oldest first.
func (p *past) look(ctx context.Context) (err error) {
	if p.revisions == nil {
		p.read = map[providers.Version]providers.Bundle{p.cur.Version: p.cur}
		p.revisions, err = p.r.History(ctx, p.cur.Path)
	}
	return err
}

// readable tells whether a version is an earlier one that is still there.
func (p *past) readable(rev providers.Revision) bool {
	return rev.Version < p.cur.Version && !rev.Deleted && !rev.Destroyed
}

func (p *past) at(ctx context.Context, v providers.Version) (providers.Bundle, error) {
	b, ok := p.read[v]
	if ok {
		return b, nil
	}
	b, err := p.r.Read(ctx, p.cur.Path, v)
	if err == nil {
		p.read[v] = b
	}
	return b, err
}

// sameAge tells whether two values are equally old: of a ring its newest key counts,
// whatever becomes of those behind it.
func (r Rotation) sameAge(a, b secret.Value) bool {
	if r.Recipe.Ring {
		x, errX := secret.ParseRing(a)
		y, errY := secret.ParseRing(b)
		if errX == nil && errY == nil {
			return x[0].Equal(y[0])
		}
	}
	return a.Equal(b)
}

// every returns how old a recipe's value may become; zero: nothing says.
func every(r config.Recipe, custom map[string]string) (time.Duration, error) {
	if r.Every.Duration > 0 || custom[metaRotateEvery] == "" {
		return r.Every.Duration, nil
	}
	return config.ParseDuration(custom[metaRotateEvery])
}
