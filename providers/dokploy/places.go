package dokploy

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"envctl/internal/fault"
	"envctl/naming"
	"envctl/providers"
)

// The kinds of places, from the outside in.
const (
	kindProject     = "project"
	kindEnvironment = "environment"
	kindService     = "service"
)

// made begins the description of what Build made; the mark follows.
const made = "made by envctl "

var _ providers.Builder = (*Deployer)(nil)

// whole is a project as project.one tells it.
type whole struct {
	ProjectID, Name, Description string
	Environments                 []inner
}

type inner struct {
	EnvironmentID, Name, Description, Env string
	IsDefault                             bool
	Compose                               []struct{ ComposeID, Name, Description string }

	// Services of other kinds, which envctl does not make.
	Applications, Libsql, Mariadb, Mongo, Mysql, Postgres, Redis []any
}

func (e inner) empty() bool {
	return len(e.Compose)+len(e.Applications)+len(e.Libsql)+len(e.Mariadb)+len(e.Mongo)+len(e.Mysql)+len(e.Postgres)+len(e.Redis) == 0
}

func opPlaces(r providers.Release) string {
	return "look for " + r.Project + "/" + r.Environment + "/" + r.Component + " in dokploy"
}

func opRaze(p providers.Place) string { return "remove the " + p.Kind + " " + p.Name + " from dokploy" }

// Places returns the project, the environment and the compose service of r.
func (d *Deployer) Places(ctx context.Context, r providers.Release) ([]providers.Place, error) {
	op := opPlaces(r)
	all, err := d.projects(ctx, op)
	if err != nil {
		return nil, err
	}
	out := []providers.Place{{Kind: kindProject, Name: r.Project}, {Kind: kindEnvironment, Name: r.Environment}, {Kind: kindService, Name: d.names(r)[0]}}
	var ids []string
	for _, p := range all {
		if p.Name == r.Project {
			ids = append(ids, p.ProjectID)
		}
	}
	switch {
	case len(ids) == 0:
		return out, nil
	case len(ids) > 1:
		return nil, twice(op, kindProject, r.Project, len(ids))
	}
	p, err := d.project(ctx, op, ids[0])
	if err != nil {
		return nil, err
	}
	out[0] = place(kindProject, p.Name, p.ProjectID, p.Description)
	environments := slices.DeleteFunc(slices.Clone(p.Environments), func(e inner) bool { return e.Name != r.Environment })
	if len(environments) > 1 {
		return nil, twice(op, kindEnvironment, r.Environment, len(environments))
	}
	if len(environments) == 0 {
		return out, nil
	}
	e := environments[0]
	out[1] = place(kindEnvironment, e.Name, e.EnvironmentID, e.Description)
	switch {
	case e.IsDefault:
		out[1].Kept = "it is the project's default environment"
	case out[1].Mark == "":
		out[1].Kept = "envctl did not make it"
	case e.Env != "":
		out[1].Kept = "it has variables of its own"
	}
	for _, name := range d.names(r) {
		n := 0
		for _, c := range e.Compose {
			if c.Name != name {
				continue
			}
			if n++; n > 1 {
				return nil, twice(op, kindService, name, n)
			}
			out[2] = place(kindService, name, c.ComposeID, c.Description)
		}
		if n > 0 {
			break
		}
	}
	if out[2].ID == "" {
		return out, nil
	}
	out[2].Kept, err = d.kept(ctx, op, out[2])
	return out, err
}

func twice(op, kind, name string, n int) error {
	return fault.Newf(fault.Refused, op, "rename or remove all but one in Dokploy", "Dokploy has %d %ss called %s", n, kind, name)
}

func place(kind, name, id, description string) providers.Place {
	p := providers.Place{Kind: kind, Name: name, ID: id}
	if mark, ok := strings.CutPrefix(description, made); ok {
		p.Mark = mark
	}
	return p
}

// kept says what of a service nobody could make again.
func (d *Deployer) kept(ctx context.Context, op string, p providers.Place) (string, error) {
	if p.Mark == "" {
		return "envctl did not make it", nil
	}
	c, err := d.one(ctx, op, p.ID)
	if err != nil {
		return "", err
	}
	have, err := readText(op, c.text)
	if err != nil {
		return "its text is not readable", nil //nolint:nilerr // that it cannot be read is the answer
	}
	ours := append(strings.Split(have[ManagedVariable].Reveal(), ","), "ENV", ManagedVariable, KeptVariable, providers.MarkerVariable)
	_, kept := keptIn(have)
	ours = append(ours, kept...)
	for name := range have {
		if !slices.Contains(ours, name) {
			return "its text has variables that envctl did not write", nil
		}
	}
	return "", nil
}

func (d *Deployer) project(ctx context.Context, op, id string) (whole, error) {
	var p whole
	a, err := d.http.get(ctx, op, "project.one", url.Values{"projectId": {id}})
	if err != nil {
		return p, err
	}
	if err := a.decode(op, &p); err != nil {
		return p, err
	}
	if p.ProjectID != id {
		return p, fault.New(fault.Unavailable, op, "Dokploy answered with another project than the one asked for", "run envctl doctor")
	}
	return p, nil
}

// Build makes one place, if it is not there. Dokploy takes a name twice, so it is
// looked for before and after; what has been made twice is taken back.
func (d *Deployer) Build(ctx context.Context, r providers.Release, kind, mark string) (providers.Place, error) {
	op := "make the " + kind + " of " + r.Project + "/" + r.Environment + "/" + r.Component + " in dokploy"
	all, err := d.Places(ctx, r)
	if err != nil {
		return providers.Place{}, err
	}
	i := slices.IndexFunc(all, func(p providers.Place) bool { return p.Kind == kind })
	switch {
	case i < 0:
		return providers.Place{}, fault.Newf(fault.Internal, op, "", "there is no kind %s", kind)
	case all[i].ID != "":
		return all[i], nil
	case i > 0 && all[i-1].ID == "":
		return providers.Place{}, fault.Newf(fault.NotFound, op, "run the command again", "there is no %s %s", all[i-1].Kind, all[i-1].Name)
	}
	body := map[string]string{"name": all[i].Name, "description": made + mark}
	procedure := "project.create"
	switch kind {
	case kindEnvironment:
		if naming.IsProduction(all[i].Name) {
			return providers.Place{}, fault.New(fault.Refused, op, "Dokploy makes production itself, with the project, and this project has none", "rename its default environment to production in Dokploy")
		}
		procedure, body["projectId"] = "environment.create", all[0].ID
	case kindService:
		file, err := d.composeFile(op, r)
		if err != nil {
			return providers.Place{}, err
		}
		procedure, body["environmentId"] = "compose.create", all[1].ID
		body["sourceType"], body["composeType"], body["composeFile"], body["appName"] = "raw", "docker-compose", file, all[i].Name
	}
	_, unsure, createErr := d.http.post(ctx, op, procedure, body)
	if createErr != nil && !unsure {
		return providers.Place{}, createErr
	}
	// What was begun is settled, even where ctx has just ended.
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*d.http.timeout)
	defer cancel()
	now, err := d.Places(after, r)
	switch {
	case fault.Is(err, fault.Refused):
		return providers.Place{}, d.takeBack(after, op, r, kind, mark, err)
	case err != nil:
		return providers.Place{}, fault.Newf(fault.Unknown, op, "look for it in Dokploy, then run the command again", "whether it was made is not known (%v)", err)
	case now[i].ID == "" && createErr != nil:
		return providers.Place{}, createErr
	case now[i].ID == "":
		return providers.Place{}, fault.New(fault.Unavailable, op, "Dokploy said that it was made, and does not have it", "run envctl doctor")
	}
	return now[i], nil
}

// takeBack removes what was made while somebody else made one of the same name.
func (d *Deployer) takeBack(ctx context.Context, op string, r providers.Release, kind, mark string, cause error) error {
	all, err := d.marked(ctx, op, r, kind, mark)
	for i := 0; err == nil && i < len(all); i++ {
		err = d.Raze(ctx, all[i], false)
	}
	if err != nil {
		return fault.Newf(fault.Unknown, op, "remove all but one in Dokploy, then run the command again", "%v, and this one cannot be taken back (%v)", cause, err)
	}
	return fault.New(fault.Conflict, op, "somebody else made one of the same name at the same moment; theirs stays", "run the command again")
}

// marked returns the places of a kind that carry a mark, whatever else has their name.
func (d *Deployer) marked(ctx context.Context, op string, r providers.Release, kind, mark string) ([]providers.Place, error) {
	all, err := d.projects(ctx, op)
	if err != nil {
		return nil, err
	}
	var out []providers.Place
	add := func(p providers.Place) {
		if p.Kind == kind && p.Mark == mark {
			out = append(out, p)
		}
	}
	for _, p := range all {
		if p.Name != r.Project {
			continue
		}
		w, err := d.project(ctx, op, p.ProjectID)
		if err != nil {
			return nil, err
		}
		add(place(kindProject, w.Name, w.ProjectID, w.Description))
		for _, e := range w.Environments {
			add(place(kindEnvironment, e.Name, e.EnvironmentID, e.Description))
			for _, c := range e.Compose {
				add(place(kindService, c.Name, c.ComposeID, c.Description))
			}
		}
	}
	return out, nil
}

// Clear stops a service's containers; they stay, exited, and so does its text.
func (d *Deployer) Clear(ctx context.Context, p providers.Place) error {
	op := "stop " + p.Name + " in dokploy"
	if p.Kind != kindService {
		return fault.Newf(fault.Internal, op, "", "a %s runs nothing", p.Kind)
	}
	_, _, err := d.http.post(ctx, op, "compose.stop", map[string]string{"composeId": p.ID})
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// Raze removes a place. A lost answer is settled by looking.
func (d *Deployer) Raze(ctx context.Context, p providers.Place, volumes bool) error {
	op := opRaze(p)
	if !legalID(p.ID) {
		return fault.New(fault.Internal, op, "it has no id", "")
	}
	var procedure string
	var body any
	switch p.Kind {
	case kindService:
		procedure, body = "compose.delete", map[string]any{"composeId": p.ID, "deleteVolumes": volumes}
	case kindEnvironment:
		procedure, body = "environment.remove", map[string]string{"environmentId": p.ID}
	case kindProject:
		// Dokploy would remove all that is in it.
		w, err := d.project(ctx, op, p.ID)
		if fault.Is(err, fault.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range w.Environments {
			if !e.IsDefault || !e.empty() {
				return fault.Newf(fault.Refused, op, "remove it in Dokploy", "the environment %s is in it", e.Name)
			}
		}
		procedure, body = "project.remove", map[string]string{"projectId": p.ID}
	default:
		return fault.Newf(fault.Internal, op, "", "there is no kind %s", p.Kind)
	}
	_, unsure, err := d.http.post(ctx, op, procedure, body)
	switch {
	case err == nil, fault.Is(err, fault.NotFound):
		return nil
	case fault.Is(err, fault.Invalid): // "it has active services", "the default environment"
		return fault.Wrap(err, fault.Refused, op, "remove what is in it in Dokploy first")
	case !unsure:
		return err
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*d.http.timeout)
	defer cancel()
	there, lookErr := d.stands(after, op, p)
	switch {
	case lookErr == nil && !there:
		return nil
	case lookErr == nil:
		return err
	}
	return fault.Newf(fault.Unknown, op, "look for it in Dokploy, then run the command again", "whether it was removed is not known (%v)", err)
}

func (d *Deployer) stands(ctx context.Context, op string, p providers.Place) (bool, error) {
	procedure := map[string]string{kindService: "compose.one", kindEnvironment: "environment.one", kindProject: "project.one"}[p.Kind]
	field := map[string]string{kindService: "composeId", kindEnvironment: "environmentId", kindProject: "projectId"}[p.Kind]
	_, err := d.http.get(ctx, op, procedure, url.Values{field: {p.ID}})
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	return err == nil, err
}

// Environments returns the environments of a project, sorted: those of closed
// pull requests may be there and nowhere else.
func (d *Deployer) Environments(ctx context.Context, projectName string) ([]string, error) {
	all, err := d.projects(ctx, "list dokploy's environments")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range all {
		if p.Name != projectName {
			continue
		}
		for _, e := range p.Environments {
			names = append(names, e.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

var _ providers.Surveyor = (*Deployer)(nil)
