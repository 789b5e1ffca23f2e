package compose

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"envctl/internal/fault"
	"envctl/providers"
)

// composeFile is what compose reads in the file, by service.
type composeFile map[string]fileService

type fileService struct {
	Image       string
	Scale       *int
	NetworkMode string `json:"network_mode"`
	Ports       []struct{ Published string }
	Volumes     []struct{ Type, Source string }
	PreStop     []any                                 `json:"pre_stop"`
	DependsOn   map[string]struct{ Condition string } `json:"depends_on"`
	Deploy      struct {
		Replicas     *int
		UpdateConfig struct {
			Parallelism *int
			Order       string
		} `json:"update_config"`
	}
}

// read asks compose what the file says.
func (d *Deployer) read(ctx context.Context, r providers.Release) (composeFile, error) {
	out, err := d.run(ctx, r, []string{"-f", d.c.File, "--profile", "*"}, []string{"config", "--format", "json"}, nil)
	if err != nil {
		var f *failure
		if errors.As(err, &f) && !f.missing {
			return nil, fault.Newf(fault.Invalid, op(r), "correct "+d.c.File+", or give the variable it asks for: envctl set", "compose does not accept %s: %s", filepath.Base(d.c.File), f.text)
		}
		return nil, d.refused(ctx, r, err)
	}
	var file struct{ Services composeFile }
	if err := json.Unmarshal(out, &file); err != nil {
		return nil, fault.New(fault.Invalid, op(r), "compose's description of the file is not JSON", "docker compose version must be 2.20 or later")
	}
	for _, s := range r.Services {
		if _, ok := file.Services[s.Name]; !ok {
			return nil, fault.Newf(fault.NotFound, op(r), "correct services in envctl.yaml, or the compose file",
				"%s has no service %s; it has %s", d.c.File, s.Name, cmp.Or(strings.Join(slices.Sorted(maps.Keys(file.Services)), ", "), "none"))
		}
	}
	return file.Services, nil
}

// manner is how a service's containers give way to new ones.
type manner struct {
	replicas int
	batch    int    // how many at a time; 0: all at once, by compose
	inPlace  bool   // an old one goes before its new one comes
	why      string // it cannot be otherwise
}

func (m manner) several() bool { return m.replicas != 1 }
func (m manner) rolls() bool   { return m.batch > 0 }

// manner says how a service is replaced. Several replicas are rolled, a single one
// where that is asked for, unless two containers cannot be side by side or only
// compose's own recreation does all that the file asks for.
func (file composeFile) manner(s providers.Service) manner {
	in := file[s.Name]
	m := manner{replicas: 1}
	for _, n := range []*int{in.Scale, in.Deploy.Replicas} {
		if n != nil {
			m.replicas = *n
		}
	}
	if m.replicas < 1 || m.replicas == 1 && !s.Rolling {
		return m
	}
	batch := 1
	if asked := in.Deploy.UpdateConfig.Parallelism; asked != nil {
		batch = *asked
		if batch < 1 { // compose's word for all
			batch = m.replicas
		}
	}
	batch = min(batch, m.replicas)
	if slots, fixed := in.hostPorts(); fixed {
		if batch = min(batch, slots-m.replicas); batch < 1 {
			batch, m.inPlace, m.why = 1, true, "its host ports have no room for another"
		}
	}
	switch {
	case in.anonymous():
		m.why = "it keeps data in a volume without a name, which only its successor is given"
		return m
	case len(in.PreStop) > 0:
		m.why = "it has a pre_stop hook, which only a recreation runs"
		return m
	case in.Deploy.UpdateConfig.Order == "stop-first":
		batch, m.inPlace, m.why = 1, true, "its update_config says stop-first"
	case m.replicas == 1 && in.NetworkMode == "host":
		m.inPlace, m.why = true, "it is on the host's own network"
	}
	if m.inPlace && m.replicas == 1 {
		return m
	}
	m.batch = batch
	return m
}

// hostPorts returns for how many containers the service's fixed ports of the host
// are enough.
func (s fileService) hostPorts() (slots int, fixed bool) {
	for _, p := range s.Ports {
		first, last, ranged := strings.Cut(p.Published, "-")
		from, err := strconv.Atoi(first)
		if err != nil || from == 0 {
			continue // the engine chooses one
		}
		n := 1
		if to, err := strconv.Atoi(last); ranged && err == nil {
			n = to - from + 1
		}
		if !fixed || n < slots {
			slots, fixed = n, true
		}
	}
	return slots, fixed
}

func (s fileService) anonymous() bool {
	return slices.ContainsFunc(s.Volumes, func(v struct{ Type, Source string }) bool { return v.Type == "volume" && v.Source == "" })
}

// Replaces asks compose and the engine, which may not answer: its errors are
// those of Deploy.
func (d *Deployer) Replaces(ctx context.Context, r providers.Release) ([]providers.Replacement, error) {
	if err := check(r); err != nil {
		return nil, err
	}
	file, err := d.read(ctx, r)
	if err != nil {
		return nil, err
	}
	found, err := d.c.Engine.Containers(ctx, query(r))
	if err != nil {
		return nil, err
	}
	var out []providers.Replacement
	for _, s := range r.Services {
		runs := slices.ContainsFunc(found, func(c providers.Container) bool { return c.Service == s.Name && c.State == "running" })
		out = append(out, providers.Replacement{Service: s.Name, How: file.manner(s).words(runs)})
	}
	return out, nil
}

func (m manner) words(runs bool) string {
	why := ""
	if m.why != "" {
		why = ": " + m.why
	}
	switch {
	case !runs:
		return "started: none of it runs"
	case !m.rolls() && m.several():
		return fmt.Sprintf("all %d replicas recreated at once, with an interruption%s", m.replicas, why)
	case !m.rolls():
		return "recreated, with an interruption" + why
	case m.inPlace:
		return fmt.Sprintf("rolled, 1 of %d replicas at a time; %d go on meanwhile%s", m.replicas, m.replicas-1, why)
	}
	return fmt.Sprintf("rolled, %d of %d replicas at a time; an old one goes when a new one is healthy", m.batch, m.replicas)
}
