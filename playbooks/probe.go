package playbooks

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

const (
	// How long a probe is asked again: before a rotation the application runs
	// already, afterwards it may just be starting.
	patienceBefore = 10 * time.Second
	patienceAfter  = 45 * time.Second

	firstPause, longestPause = 100 * time.Millisecond, 2 * time.Second

	// A probe's token is valid for minutes, whatever the two clocks say.
	tokenBefore, tokenAfter = time.Minute, 4 * time.Minute
)

// probing is a recipe's probe in one environment.
type probing struct {
	w   *World
	t   Target
	r   Rotation
	url string
}

// probing returns how the recipe's probe is asked in the target's environment;
// nil and why where it is not.
func (w *World) probing(t Target, r Rotation) (p *probing, why string) {
	if r.Recipe.Probe == nil {
		return nil, ""
	}
	u, why := w.probeURL(*r.Recipe.Probe, t.Environment.Name)
	if why != "" {
		return nil, why
	}
	return &probing{w: w, t: t, r: r, url: u}, ""
}

// probeURL returns the URL that is right for an environment: what urls says of
// it; the url, where it tells environments apart; the url as it stands for
// production, or for the file's only environment. Another environment's
// application is never asked.
func (w *World) probeURL(p config.Probe, env string) (u, why string) {
	patterns := []string{}
	for _, e := range p.URLs {
		patterns = append(patterns, e.Key)
	}
	best, own := naming.BestMatch(patterns, env)
	if u = p.URL; own {
		u, _ = p.URLs.Get(best)
	}
	suffix := w.suffix(env)
	only := len(w.Project.Environments) == 1 && !naming.IsPattern(w.Project.Environments[0].Key)
	switch {
	case u == "":
		return "", "the probe's urls name none for " + env
	case own, strings.Contains(u, config.PlaceEnvironment), config.IsProduction(env), only:
	case !strings.Contains(u, config.PlaceSuffix):
		return "", fmt.Sprintf("the probe's url is production's, and says nothing of %s: add urls: {%s: …} or %s to it", env, env, config.PlaceEnvironment)
	case suffix == "":
		return "", fmt.Sprintf("%s has no suffix, so the probe's url would be production's: add urls: {%s: …} to it", env, env)
	}
	u = strings.NewReplacer(config.PlaceEnvironment, env, config.PlaceSuffix, suffix).Replace(u)
	if err := config.CheckProbeURL(u); err != nil {
		return "", "the recipe " + err.Error()
	}
	return u, ""
}

// bearer is one whose token the probe is shown, and what must come of it.
type bearer struct {
	field, words string // in the receipt, and for people: "the new key"
	key          secret.Value
	accepted     bool
	how          string // what is said when it is as it must be: "is accepted"
	orElse       string // what is said when it is accepted all the same; "" where that is wrong
}

// answer is what the probe said to one of them, when it is not what it must be.
type answer struct {
	bearer
	status int
	err    error
}

// accepted and refused: an answer that is neither says nothing of the token, such
// as that of a proxy whose application is just starting.
func (p *probing) accepted(status int) bool {
	return status == cmp.Or(p.r.Recipe.Probe.Expect, http.StatusOK)
}

func (p *probing) refused(status int) bool {
	if own := p.r.Recipe.Probe.Refuse; own != 0 {
		return status == own
	}
	return status == http.StatusBadRequest || status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusUnprocessableEntity
}

// question returns the request with a token that key has signed.
func (p *probing) question(key secret.Value) (providers.Question, error) {
	probe, now := p.r.Recipe.Probe, p.w.Now()
	claims := map[string]any{"iat": now.Add(-tokenBefore).Unix(), "exp": now.Add(tokenAfter).Unix()}
	for _, c := range probe.Claims {
		claims[c.Key] = c.Value.Value
	}
	token, err := secret.SignJWT(key, claims)
	if err != nil {
		return providers.Question{}, err
	}
	header, scheme := cmp.Or(probe.Header, "Authorization"), probe.Scheme
	switch {
	case scheme == "" && strings.EqualFold(header, "Authorization"):
		scheme = "Bearer "
	case scheme == "none":
		scheme = ""
	case scheme != "" && !strings.HasSuffix(scheme, "="):
		scheme += " "
	}
	return providers.Question{URL: p.url, Header: header, Value: secret.New(scheme + token.Reveal())}, nil //nolint:forbidigo // into the header
}

// round asks for everyone; bad is the first answer that is not as it must be.
func (p *probing) round(ctx context.Context, all []bearer) (r plan.Receipt, bad *answer) {
	r = plan.Receipt{"url": clip(p.shown())}
	var said []string
	for _, b := range all {
		q, err := p.question(b.key)
		status := 0
		if err == nil {
			status, err = p.w.Ask(ctx, q)
		}
		switch {
		case err == nil && b.orElse != "" && p.accepted(status):
			b.how = b.orElse
		case err != nil || b.accepted && !p.accepted(status) || !b.accepted && !p.refused(status):
			return r, &answer{b, status, err}
		}
		r[b.field] = fmt.Sprint(status)
		who := "one of "
		if len(said) == 0 {
			who = "a token of "
		}
		said = append(said, fmt.Sprintf("%s%s %s (%d)", who, b.words, b.how, status))
	}
	r["said"] = strings.Join(said, ", ")
	return r, nil
}

// shown is the URL without its query.
func (p *probing) shown() string {
	u, err := url.Parse(p.url)
	if err != nil {
		return ""
	}
	u.RawQuery = ""
	return u.String()
}

// ask asks until all is as it must be, patience is over, or an answer is one that
// time does not change.
func (p *probing) ask(ctx context.Context, page *plan.Page, all []bearer, patience time.Duration, running bool) (plan.Receipt, *answer) {
	end := p.w.Now().Add(patience)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		r, bad := p.round(ctx, all)
		if bad == nil || p.settled(*bad, running) || ctx.Err() != nil || !p.w.Now().Before(end) {
			return r, bad
		}
		if page != nil {
			page.Note("the probe is asked again: " + p.what(*bad))
		}
		p.w.Pause(ctx, pause)
	}
}

// settled tells that waiting makes no difference: whatever accepts a random key
// accepts anything, and an application that runs has said what it thinks.
func (p *probing) settled(a answer, running bool) bool {
	if a.err != nil {
		return !fault.Is(a.err, fault.Unavailable)
	}
	return p.accepted(a.status) && (a.field == fieldRandom || running) || running && p.refused(a.status)
}

// what says in a few words what is wrong with an answer.
func (p *probing) what(a answer) string {
	switch {
	case a.err != nil:
		return a.err.Error()
	case p.accepted(a.status):
		return fmt.Sprintf("a token of %s is accepted (%d)", a.words, a.status)
	case p.refused(a.status):
		return fmt.Sprintf("a token of %s is refused (%d)", a.words, a.status)
	case a.status >= 300 && a.status < 400:
		return fmt.Sprintf("a token of %s is answered with a redirect (%d), which is not followed", a.words, a.status)
	}
	return fmt.Sprintf("a token of %s is answered with %d, which neither accepts nor refuses it", a.words, a.status)
}

const (
	fieldRandom = "random"
	fieldProven = "proven" // what a step has proven, for people
)

// random is someone whose token nobody may accept.
func (p *probing) random() (bearer, error) {
	g, _ := secret.FindGenerator("jwt")
	key, err := g.New(p.w.Rand)
	return bearer{field: fieldRandom, words: "a random key", key: key, how: "is not"}, err
}

// beforeStep refuses a rotation that the probe could not prove: one that does not
// accept the key in use, or that accepts any. refused is what to do about a key that
// the application does not accept, "" where that can only be the recipe's fault.
func (p *probing) beforeStep(current secret.Value, refused string) plan.Step {
	op := "prove the rotation of " + p.r.Recipe.Variable
	return plan.Step{
		ID: "probe", Title: "try the probe", Risk: plan.Reads,
		Do: func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
			if err := p.w.needsTrust(op, p.r.Recipe); err != nil {
				return nil, err
			}
			random, err := p.random()
			if err != nil {
				return nil, err
			}
			r, bad := p.ask(ctx, page, []bearer{{field: "old", words: "the key in use", key: current, accepted: true, how: "is accepted"}, random}, patienceBefore, true)
			if bad == nil {
				return r, nil
			}
			const trust = ", then run envctl trust"
			switch text := p.what(*bad); {
			case bad.err != nil:
				return nil, fault.Wrap(bad.err, fault.KindOf(bad.err), op, "let the application run, or correct the recipe's probe"+trust)
			case bad.status >= 500:
				return nil, fault.New(fault.Unavailable, op, text, "look with envctl status"+p.t.on())
			case bad.accepted && p.refused(bad.status) && refused != "":
				return nil, fault.New(fault.Refused, op, text, refused+trust)
			case bad.accepted && p.refused(bad.status):
				return nil, fault.New(fault.Refused, op, text+": the probe cannot tell whether a rotation works", "correct header, scheme and claims of the recipe's probe"+trust)
			case !bad.accepted && p.accepted(bad.status):
				return nil, fault.New(fault.Refused, op, text+": a probe that accepts anything proves nothing", "let the probe's url name something that only a valid token opens"+trust)
			default:
				return nil, fault.New(fault.Refused, op, text, "correct url, expect or refuse of the recipe's probe"+trust)
			}
		},
		Undo: func(context.Context, plan.Receipt) error { return nil },
	}
}

// proveStep asks the application itself. bearers says whose tokens, once the
// write is made; services are those that the plan deploys.
func (p *probing) proveStep(services []string, bearers func(context.Context) ([]bearer, string, error)) plan.Step {
	op := "prove the rotation of " + p.r.Recipe.Variable
	asked := false
	prove := func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
		if err := p.w.needsTrust(op, p.r.Recipe); err != nil {
			return nil, err
		}
		all, untried, err := bearers(ctx)
		if err != nil {
			return nil, err
		}
		random, err := p.random()
		if err != nil {
			return nil, err
		}
		r, bad := p.ask(ctx, page, append(all, random), patienceAfter, false)
		if bad != nil {
			kind := fault.No
			if bad.err != nil {
				kind = fault.KindOf(bad.err)
			}
			return nil, fault.New(kind, op, p.what(*bad), "look with envctl logs "+p.t.Component+" --env "+p.t.Environment.Name)
		}
		asked = true
		r[fieldProven] = r["said"] + untried
		delete(r, "said")
		if len(services) == 1 { // who answered is no question
			r["evidence"], r["services"] = "probe", services[0]
		}
		return r, nil
	}
	return plan.Step{
		ID: "prove", Title: "ask the application", Risk: plan.Reads, Do: prove,
		Verify: func(ctx context.Context, _ plan.Receipt) error {
			if asked {
				return nil
			}
			_, err := prove(ctx, nil)
			return err
		},
		Undo: func(context.Context, plan.Receipt) error { return nil },
	}
}
