package dokploy

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/internal/rollout"
)

const (
	interval = 250 * time.Millisecond // between looks
	// lostAfter is how many looks in a row have to find neither a job nor a record
	// before the job is called lost: between the two there is a moment.
	lostAfter = 8
	logLines  = 6 // of a failed deployment, in its error
)

// record is one of Dokploy's deployments.
type record struct {
	DeploymentID, Title, Status string
	ErrorMessage                *string
}

// state looks for the deployment of that title: in the queue first, because a
// job that has left it has a record.
func (d *Deployer) state(ctx context.Context, op, id, title string) (queued bool, row *record, err error) {
	a, err := d.http.get(ctx, op, "deployment.queueList", nil)
	if err != nil {
		return false, nil, err
	}
	var jobs []struct {
		Data struct{ ComposeID, TitleLog string }
	}
	if err := a.decode(op, &jobs); err != nil {
		return false, nil, err
	}
	for _, j := range jobs {
		queued = queued || j.Data.ComposeID == id && j.Data.TitleLog == title
	}
	row, err = d.record(ctx, op, id, title)
	return queued, row, err
}

// record returns the newest record of that title, nil without one.
func (d *Deployer) record(ctx context.Context, op, id, title string) (*record, error) {
	a, err := d.http.get(ctx, op, "deployment.allByCompose", url.Values{"composeId": {id}})
	if err != nil {
		return nil, err
	}
	var rows []record
	if err := a.decode(op, &rows); err != nil {
		return nil, err
	}
	for i := range rows {
		if rows[i].Title == title {
			return &rows[i], nil
		}
	}
	return nil, nil //nolint:nilnil // none is an answer
}

// Wait follows dep's job through the queue to its record's end, makes sure that
// the text is still the release's, and waits for the containers: "done" only
// means that docker compose ended well. A server that is away meanwhile is waited for
// (Config.Outage). Errors: No (the deployment failed, was cancelled or got lost;
// a container is not up), Conflict (someone changed the text meanwhile), Denied,
// Unavailable, Interrupted.
func (d *Deployer) Wait(ctx context.Context, r providers.Release, dep providers.Deployment) error {
	c, err := d.ended(ctx, r, dep)
	if err != nil {
		return err
	}
	if lost := d.differing(c.text, r); len(lost) > 0 {
		return fault.Newf(fault.Conflict, rollout.Op(r), "find out who writes it in Dokploy, then "+again(r),
			"someone else changed the environment text while it was being deployed: %s", strings.Join(lost, ", "))
	}
	return rollout.Watch{Release: r, Since: dep.Started, Interval: interval, Look: d.look(r, c.app)}.Wait(ctx)
}

func again(r providers.Release) string {
	return "run envctl deploy " + r.Component + " --env " + r.Environment + " again"
}

// ended follows dep's job to its good end, and returns the service as it is then.
func (d *Deployer) ended(ctx context.Context, r providers.Release, dep providers.Deployment) (service, error) {
	id, nonce, ok := strings.Cut(dep.ID, "/")
	if !ok || !legalID(id) || nonce == "" {
		return service{}, fault.New(fault.Internal, rollout.Op(r), "that is not a deployment of Dokploy", "")
	}
	if err := rollout.Check(r); err != nil {
		return service{}, err
	}
	row, err := d.follow(ctx, r, id, title(r, dep))
	if err != nil {
		return service{}, err
	}
	switch row.Status {
	case "cancelled":
		return service{}, fault.New(fault.No, rollout.Op(r), "the deployment was cancelled: Dokploy was restarted while it ran, or someone stopped it; the containers may be of either release", again(r))
	case "error":
		return service{}, d.failed(ctx, r, id, row)
	}
	return d.one(ctx, rollout.Op(r), id)
}

// follow returns the record once it has ended.
func (d *Deployer) follow(ctx context.Context, r providers.Release, id, title string) (*record, error) {
	op := rollout.Op(r)
	words := "the deployment is queued in Dokploy"
	var away time.Time // since when the server does not answer
	var row *record
	for absent := 0; ; {
		var err error
		queued := false
		if row == nil {
			queued, row, err = d.state(ctx, op, id, title)
		} else if row, err = d.record(ctx, op, id, title); err == nil && row == nil {
			return nil, fault.New(fault.No, op, "the deployment's record is gone from Dokploy: someone deleted it, or the service", "run envctl status --env "+r.Environment)
		}
		switch {
		case err != nil && ctx.Err() != nil:
		case fault.Is(err, fault.Unavailable):
			row = nil // after a restart the record may be another's: find it again
			if away.IsZero() {
				away = d.c.Now()
			} else if out := d.c.Now().Sub(away); out > d.c.Outage {
				return nil, fault.Newf(fault.Unavailable, op, "run envctl status --env "+r.Environment+" when Dokploy is back",
					"%s, and Dokploy has not answered for %s (%v)", words, out.Round(time.Second), err)
			}
		case fault.Is(err, fault.Denied):
			return nil, fault.Wrap(err, fault.Denied, op+": "+words+" and how it ends cannot be seen", fault.HintOf(err))
		case err != nil:
			return nil, err
		case row != nil && (row.Status == "done" || row.Status == "error" || row.Status == "cancelled"):
			return row, nil
		case row != nil:
			away, words = time.Time{}, "the deployment is "+cmp.Or(rollout.Redact(row.Status, r), "running")+" in Dokploy"
		case queued:
			away, absent = time.Time{}, 0
		default:
			away = time.Time{}
			if absent++; absent == lostAfter {
				return nil, fault.New(fault.No, op, "Dokploy lost the deployment: it is neither in the queue nor among the records (a restart drops what waits); no container was changed",
					"run envctl deploy "+r.Component+" --env "+r.Environment+" again")
			}
		}
		if pauseFor(ctx, interval) != nil {
			return nil, rollout.Ended(ctx, r, words+"; services: "+serviceNames(r), "run envctl status --env "+r.Environment)
		}
	}
}

func serviceNames(r providers.Release) string {
	names := make([]string, len(r.Services))
	for i, s := range r.Services {
		names[i] = s.Name
	}
	return strings.Join(names, ", ")
}

// failed says what the deployment's log ends with. The log may show any value of
// the text, so without the text it is not shown.
func (d *Deployer) failed(ctx context.Context, r providers.Release, id string, row *record) error {
	op := rollout.Op(r)
	why, err := d.log(ctx, op, row)
	var others []secret.Value
	if err == nil {
		others, err = d.others(ctx, r, id)
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return rollout.Ended(ctx, r, "the deployment failed in Dokploy", "see its log in Dokploy")
	case err != nil:
		why = "its log cannot be read (" + err.Error() + ")"
	default:
		why = rollout.Redact(why, r, others...)
	}
	return fault.Newf(fault.No, op, "see the deployment's log in Dokploy, correct what it names, then run envctl deploy "+r.Component+" --env "+r.Environment,
		"docker compose did not end well in Dokploy: %s", cmp.Or(why, "without a word"))
}

// log returns the last lines of a deployment's log. ErrorMessage stays empty
// where compose failed.
func (d *Deployer) log(ctx context.Context, op string, row *record) (string, error) {
	a, err := d.http.get(ctx, op, "deployment.readLogs", url.Values{"deploymentId": {row.DeploymentID}, "tail": {"40"}})
	if err != nil {
		return "", err
	}
	var log string
	if err := a.decode(op, &log); err != nil {
		return "", err
	}
	if row.ErrorMessage != nil {
		log += "\n" + *row.ErrorMessage
	}
	return rollout.LastLines(log, logLines), nil
}

// others returns the values of the text that are not the release's. What is
// only a reference is no secret, and its name is what a log complains of.
func (d *Deployer) others(ctx context.Context, r providers.Release, id string) ([]secret.Value, error) {
	c, err := d.one(ctx, rollout.Op(r), id)
	if err != nil {
		return nil, err
	}
	have, err := readText(rollout.Op(r), c.text)
	if err != nil {
		return nil, err
	}
	delete(have, "ENV")
	delete(have, ManagedVariable)
	delete(have, KeptVariable)
	delete(have, providers.MarkerVariable)
	return slices.DeleteFunc(slices.Collect(maps.Values(have)), func(v secret.Value) bool {
		return strings.HasPrefix(v.Reveal(), "${{") && strings.Index(v.Reveal(), "}}") == v.Len()-2
	}), nil
}
