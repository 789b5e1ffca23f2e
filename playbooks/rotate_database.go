package playbooks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/providers"
)

// roleChange is the rotation of a password that a database server holds too. The
// store is written first, on the version that was planned from: of two rotators
// only the winner touches the server, and the new password is read back from the
// store by whoever goes on, also after a crash.
type roleChange struct {
	w         *World
	t         Target
	r         Rotation
	store     providers.Store
	roles     providers.Roles
	was, role string // who logs in before and after; the same where no two take turns
	noted     string // when the path's metadata says that it was rotated last
}

func (w *World) roleChange(t Target, r Rotation) (*roleChange, error) {
	store, err := w.Store(t.Environment)
	if err != nil {
		return nil, err
	}
	roles, err := w.Roles(t.Environment, t.Component, *r.Recipe.Database)
	if err != nil {
		return nil, err
	}
	return &roleChange{w: w, t: t, r: r, store: store, roles: roles}, nil
}

func (d *roleChange) op() string     { return "rotate " + d.r.Recipe.Variable }
func (d *roleChange) turns() bool    { return d.r.Recipe.Database.Alternate != "" }
func (d *roleChange) overlaps() bool { return d.turns() || d.roles.Several() }

// keys are the keys of the store that make a login.
func (d *roleChange) keys() []string {
	keys := []string{d.r.Recipe.Variable}
	if d.turns() {
		keys = append(keys, d.r.Recipe.Database.RoleVariable)
	}
	return keys
}

// loginOf is the login that a version of the path holds.
func (d *roleChange) loginOf(b providers.Bundle) (providers.Login, error) {
	db, variable := d.r.Recipe.Database, d.r.Recipe.Variable
	l := providers.Login{Role: db.Role, Password: b.Values[variable]}
	if l.Password.Len() == 0 {
		return l, fault.Newf(fault.NotFound, d.op(), "put the role's password into the store: envctl set "+variable+" --stdin"+d.t.on(), "%s has no %s", b.Path, variable)
	}
	if d.turns() {
		l.Role = b.Values[db.RoleVariable].Reveal() //nolint:forbidigo // a role's name is no secret
		if l.Role != db.Role && l.Role != db.Alternate {
			return l, fault.Newf(fault.Invalid, d.op(), "put the name of the role in use there: envctl set "+db.RoleVariable+" --stdin"+d.t.on(),
				"%s of %s is neither %s nor %s", db.RoleVariable, b.Path, db.Role, db.Alternate)
		}
	}
	return l, nil
}

// loginAt reads the login of a version.
func (d *roleChange) loginAt(ctx context.Context, v providers.Version) (providers.Login, error) {
	b, err := d.store.Read(ctx, d.w.Path(d.t), v)
	if err != nil {
		return providers.Login{}, err
	}
	return d.loginOf(b)
}

// as is who changes roles: the administrator, else the role itself by l.
func (d *roleChange) as(l providers.Login) providers.Login {
	if d.roles.Administrator() != "" {
		return providers.Login{}
	}
	return l
}

func sameLogin(a, b providers.Login) bool { return a.Role == b.Role && a.Password.Equal(b.Password) }

// rotateRole plans the rotation of a database password.
func (w *World) rotateRole(ctx context.Context, t Target, r Rotation) (*plan.Plan, error) {
	d, err := w.roleChange(t, r)
	if err != nil {
		return nil, err
	}
	cur, err := w.current(ctx, d.store, t)
	if err != nil {
		return nil, err
	}
	old, err := d.loginOf(cur)
	if err != nil {
		return nil, err
	}
	d.noted = cur.Custom[metaRotatedAt]
	db := r.Recipe.Database
	if d.was, d.role = old.Role, old.Role; d.turns() {
		d.role = db.Alternate
		if old.Role == db.Alternate {
			d.role = db.Role
		}
	}
	facts, err := d.mayStart(ctx, old)
	if err != nil {
		return nil, err
	}
	return d.plan(ctx, cur, facts)
}

// trusted refuses a recipe of a file that nobody trusted: it aims the
// administrator's login of the operator's own file.
func (d *roleChange) trusted() error {
	if !d.w.Trusted {
		return fault.New(fault.Refused, d.op(), "its recipe names a role of a database, and "+config.FileName+" as it is now is not trusted",
			"read the file, then run envctl trust")
	}
	return nil
}

// mayStart refuses a rotation that could end in a login that does not work, by
// reading only, and says what this one will do.
func (d *roleChange) mayStart(ctx context.Context, old providers.Login) ([]plan.Fact, error) {
	op, db := d.op(), d.r.Recipe.Database
	if err := d.trusted(); err != nil {
		return nil, err
	}
	if g := d.r.Generator.Name; !slices.Contains([]string{"hex", "jwt", "password", "token"}, g) {
		return nil, fault.Newf(fault.Refused, op, "let the component generate it as password, hex or token", "a %s is no password for a database", g)
	}
	if d.turns() && d.roles.Administrator() == "" {
		return nil, fault.New(fault.Refused, op, "one role cannot give another a password: two that take turns need an administrator",
			fmt.Sprintf("name one in %s: databases: {%s: {url: \"postgres://ADMIN@HOST:5432/DATABASE\", password: \"op://…\"}}", d.w.User.File, d.w.Path(d.t)))
	}
	for _, role := range []string{db.Role, db.Alternate} {
		if role != "" && role == d.roles.Administrator() {
			return nil, fault.Newf(fault.Refused, op, "let the service log in as a role of its own", "%s is the administrator: the login in your config.yaml would end", role)
		}
	}
	if err := d.roles.Login(ctx, old); err != nil {
		return nil, d.disagree(err, old)
	}
	now, err := d.lookUp(ctx, old, d.was)
	if err != nil {
		return nil, err
	}
	facts := []plan.Fact{
		{Label: "generate", Text: d.r.Generator.Name + " for " + d.r.Recipe.Variable},
		{Label: "role", Text: d.was + " on " + d.roles.Describe()},
	}
	if d.turns() {
		facts[1].Text = d.was + " → " + d.role + " on " + d.roles.Describe()
		if err := d.takesTurns(ctx, old, now); err != nil {
			return nil, err
		}
	}
	if now.Forgets != "" {
		facts = append(facts, plan.Fact{Label: WarningFact, Text: "a restart of the server forgets the new password, unless it is started with it: " + now.Forgets})
	}
	return facts, nil
}

// disagree explains a login of the store's that the server refuses.
func (d *roleChange) disagree(err error, l providers.Login) error {
	if fault.Is(err, fault.Denied) {
		return fault.Newf(fault.No, d.op(), "find out which one is right, and give the store that one: envctl set "+d.r.Recipe.Variable+" --stdin"+d.t.on(),
			"the store and the server disagree already: %s refuses %s the password of %s", d.roles.Describe(), l.Role, d.w.Path(d.t))
	}
	return err
}

func (d *roleChange) lookUp(ctx context.Context, old providers.Login, role string) (providers.Role, error) {
	found, err := d.roles.Role(ctx, d.as(old), role)
	if err == nil && found.Superuser {
		err = fault.New(fault.Refused, d.op(), "the role "+role+" is a superuser of the server", "let the service log in as a role that may do less: a recipe of the project file changes no superuser")
	}
	return found, err
}

// takesTurns refuses a second role that is not like the first, or is in use.
func (d *roleChange) takesTurns(ctx context.Context, old providers.Login, now providers.Role) error {
	next, err := d.lookUp(ctx, old, d.role)
	if err != nil {
		return err
	}
	var differ []string
	for _, g := range now.Grants {
		if !slices.Contains(next.Grants, g) {
			differ = append(differ, "only "+d.was+": "+g)
		}
	}
	for _, g := range next.Grants {
		if !slices.Contains(now.Grants, g) {
			differ = append(differ, "only "+d.role+": "+g)
		}
	}
	if len(differ) > 0 {
		return fault.Newf(fault.Refused, d.op(), "give what they may do, and what they own, to a role that both are members of", "%s and %s cannot take turns, they are not alike (%s)", d.was, d.role, clip(strings.Join(differ, "; ")))
	}
	return d.unused(ctx, old, d.role, 0)
}

const (
	pause    = 200 * time.Millisecond
	patience = 75 // pauses
)

func wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pause):
		return nil
	}
}

// unused refuses to go on while a role has open sessions; it asks again some times.
func (d *roleChange) unused(ctx context.Context, as providers.Login, role string, again int) error {
	s, ok := d.roles.(providers.Sessions)
	if !ok {
		return nil
	}
	for {
		n, err := s.Sessions(ctx, d.as(as), role)
		if err != nil || n == 0 {
			return err
		}
		if again--; again < 0 {
			return fault.Newf(fault.No, d.op(), "find out what is connected (pg_stat_activity) and let it log in anew with the store's login", "%s is in use: %d sessions of it are open", role, n)
		}
		if err := wait(ctx); err != nil {
			return err
		}
	}
}

// plan puts the steps of the role around those of the write.
func (d *roleChange) plan(ctx context.Context, cur providers.Bundle, facts []plan.Fact) (*plan.Plan, error) {
	c := Change{
		Target: d.t, Playbook: "rotate " + d.r.Name, Deploy: true, Keys: d.keys(), ReadBack: true, Facts: facts,
		Args:  map[string]string{"name": d.r.Name, "was": d.was, "role": d.role},
		Again: "envctl rotate " + d.r.Name + d.t.on(),
		Check: func(_ context.Context, before, after providers.Bundle) error {
			old, err := d.loginOf(before)
			if err != nil {
				return err
			}
			fresh, err := d.loginOf(after)
			if err == nil && (fresh.Password.Equal(old.Password) || fresh.Role != d.role) {
				err = d.unrotated(before.Version, after)
			}
			return err
		},
	}
	c.Make = func(providers.Bundle) (providers.Patch, error) {
		if err := d.trusted(); err != nil {
			return nil, err
		}
		fresh, err := d.w.fresh(d.t, d.r.Recipe.Variable, d.r.Generator)
		if err != nil {
			return nil, err
		}
		patch := providers.Patch{d.r.Recipe.Variable: fresh}
		if d.turns() {
			patch[d.r.Recipe.Database.RoleVariable] = secret.New(d.role)
		}
		return patch, nil
	}
	c.Extend = func(p *plan.Plan, r rollouts) error {
		deployed := len(r.after) > 0
		ends := d.overlaps() && deployed && d.r.Recipe.Overlap.Duration == 0
		steps := append([]plan.Step{d.accessStep()}, r.before...)
		steps = append(steps, p.Steps[len(r.before)], d.roleStep())
		steps = append(append(steps, r.after...), d.loginStep())
		if ends {
			steps = append(steps, d.endStep(d.written, func(page *plan.Page) string { return unproven(page, r.after) }))
		}
		p.Steps = steps
		p.Facts = append(p.Facts, d.consequences(deployed, ends)...)
		return nil
	}
	return noting(c, d.store, cur, d.noted).planOn(ctx, d.w, d.store, cur)
}

func (d *roleChange) unrotated(from providers.Version, b providers.Bundle) error {
	return fault.Newf(fault.No, d.op(), "look with envctl history "+d.r.Recipe.Variable+d.t.on(), "version %d of %s holds the login of version %d: it was not rotated", b.Version, b.Path, from)
}

// consequences says when which login works.
func (d *roleChange) consequences(deployed, ends bool) []plan.Fact {
	until := "the services are proven to use the new one"
	finish := "envctl rotate " + d.r.Name + " --finish" + d.t.on()
	if !deployed {
		until = "you deploy them"
	}
	facts := []plan.Fact{{Label: "proof", Text: "logs in with the password read back from the store"}}
	switch {
	case !d.overlaps():
		text := "between the steps role and deploy the services hold a password that the server refuses: their open connections stay, new ones fail"
		if !deployed {
			return append(facts, plan.Fact{Label: WarningFact, Text: "nothing is deployed here: from the step role until you deploy them, the services hold a password that the server refuses"})
		}
		if d.r.Recipe.Database.Kind == config.DatabasePostgres {
			text += "; a second role (alternate) has no such window"
		}
		facts = append(facts, plan.Fact{Label: "window", Text: text}, plan.Fact{Label: "ends", Text: "the old password, which the proof sees refused"})
	case ends:
		facts = append(facts, plan.Fact{Label: "window", Text: "none for what runs: the old login works until " + until},
			plan.Fact{Label: "ends", Text: "the old login of " + d.was + ", in the last step, which sees it refused"})
	default:
		facts = append(facts, plan.Fact{Label: "window", Text: "none for what runs: the old login keeps working"},
			plan.Fact{Label: "kept", Text: "the old login of " + d.was + ", until " + finish})
	}
	return facts
}

// unproven says why the running processes are not proven, "" where they are.
func unproven(page *plan.Page, steps []plan.Step) string {
	for _, s := range steps {
		if !strings.HasPrefix(s.ID, "verify") {
			continue
		}
		if r, ok := page.Receipt(s.ID); !ok || r["evidence"] == "" {
			return "the running processes are not proven to use the new one"
		}
	}
	return ""
}
