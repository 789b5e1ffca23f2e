package playbooks

import (
	"context"
	"strings"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/naming"
	"envctl/providers"
)

// undoingDeploy makes a deployment's way back lead to the release that ran before,
// on the store's versions that it was made from: nothing was written, so what
// the store holds now is what is being taken back.
func (w *World) undoingDeploy(t Target, d providers.Deployer, r rollout) rollout {
	var did plan.Receipt
	redeploy := r.deploy.Undo
	r.deploy.Undo = func(ctx context.Context, receipt plan.Receipt) error { did = receipt; return redeploy(ctx, receipt) }
	remove := r.before.Undo
	r.before.Undo = func(ctx context.Context, receipt plan.Receipt) error {
		deployed := did != nil
		switch {
		case did[fieldTyped] != "" && did[fieldReleased] == "true":
			pinned, err := w.madeFrom(ctx, t, receipt[fieldMarker])
			if err != nil {
				return err
			}
			restart, err := w.restarted(ctx, t, receipt)
			if err != nil {
				return err
			}
			return w.putBack(ctx, t, d, did, restart, pinned)
		case did[fieldReleased] == "false":
			return remove(ctx, receipt)
		case receipt[fieldUnknown] != "" && deployed:
			return w.noWayBack(t, "what ran before could not be seen")
		case receipt[fieldUnknown] != "", receipt[fieldMarker] == "":
			return remove(ctx, receipt)
		}
		now, err := w.markers(ctx, t)
		_, stages := d.(providers.Stager)
		if err != nil || now == receipt[fieldMarker] && !(stages && deployed) {
			return err
		}
		if now == receipt[fieldMarker] {
			pinned, err := w.madeFrom(ctx, t, now)
			if err != nil {
				return err
			}
			return w.stage(ctx, t, d, deployed, pinned)
		}
		return w.bringBack(ctx, t, d, receipt[fieldMarker])
	}
	return r
}

// bringBack deploys the release that ran before, which markers gave as running, and
// reads the processes.
func (w *World) bringBack(ctx context.Context, t Target, d providers.Deployer, running string) error {
	pinned, err := w.madeFrom(ctx, t, running)
	if err != nil {
		return err
	}
	if _, err := w.releaseAt(ctx, t, d, pinned); err != nil {
		return err
	}
	store, err := w.Store(t.Environment)
	if err != nil {
		return err
	}
	want, err := w.Render(ctx, store, t, pinned)
	if err == nil {
		_, err = w.evidence(ctx, t, want)
	}
	return err
}

func (w *World) noWayBack(t Target, why string) error {
	return fault.New(fault.Refused, "undo the deploy of "+t.Component+" in "+t.Environment.Name, why+": what runs now stays",
		"run envctl rollback --to N"+t.on()+", then "+redeploy(t))
}

// combinations bounds what is tried to find a release's versions.
const combinations = 50_000

// madeFrom finds the versions that the one release among running, as markers
// gives it, was made from: those whose digest is its marker.
func (w *World) madeFrom(ctx context.Context, t Target, running string) (map[naming.Path]providers.Version, error) {
	want := ""
	for _, c := range strings.Fields(running) {
		_, mark, _ := strings.Cut(c, "=")
		mark, _, whole := strings.Cut(mark, "@")
		switch {
		case !whole: // cut short
		case mark == "" || want != "" && mark != want:
			return nil, w.noWayBack(t, "its containers were not of one release")
		default:
			want = mark
		}
	}
	return w.versionsOf(ctx, t, want)
}

// versionsOf finds the versions that the release of that marker was made from.
func (w *World) versionsOf(ctx context.Context, t Target, want string) (map[naming.Path]providers.Version, error) {
	store, err := w.Store(t.Environment)
	if err != nil {
		return nil, err
	}
	tmpl, err := w.Template(t.Component)
	if err != nil {
		return nil, err
	}
	paths := []naming.Path{w.Path(t)}
	if tmpl != nil {
		if paths, err = w.templatePaths(tmpl, t); err != nil {
			return nil, err
		}
	}
	choices, total := make([][]providers.Bundle, len(paths)), 1
	for i, p := range paths {
		all, err := store.History(ctx, p)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return nil, err
		}
		for n := len(all) - 1; n >= 0; n-- { // the newest first
			if r := all[n]; !r.Deleted && !r.Destroyed {
				choices[i] = append(choices[i], providers.Bundle{Path: p, Version: r.Version, Created: r.Created})
			}
		}
		if len(choices[i]) == 0 {
			choices[i] = []providers.Bundle{{Path: p}}
		}
		total *= len(choices[i])
		if total > combinations {
			return nil, w.noWayBack(t, "its values come from too many versions to find those that ran before")
		}
	}
	for n := range total {
		inputs := pick(choices, n)
		if marker(inputs, tmpl) != want {
			continue
		}
		pinned := map[naming.Path]providers.Version{}
		for _, in := range inputs {
			pinned[in.Path] = in.Version
		}
		return pinned, nil
	}
	why := "the versions that the release before was made from are gone"
	if tmpl != nil {
		why += ", or " + tmpl.File + " has changed since"
	}
	return nil, w.noWayBack(t, why)
}

// pick is the n-th combination of one of each.
func pick(choices [][]providers.Bundle, n int) []providers.Bundle {
	out := make([]providers.Bundle, len(choices))
	for i, c := range choices {
		out[i], n = c[n%len(c)], n/len(c)
	}
	return out
}
