package commands

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/ui"
	"envctl/naming"
	"envctl/playbooks"
	"envctl/providers"
)

// finding is one line of doctor's answer.
type finding struct {
	Area    string `json:"area"`
	Subject string `json:"subject"`
	State   string `json:"state"` // ok, warning, problem, off
	Detail  string `json:"detail,omitempty"`
	Fix     string `json:"fix,omitempty"`
}

func (a *app) doctorCommand() *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "Say what works on this machine, what does not, and why", Category: "this program",
		Action: a.asking(0, 0, func(ctx context.Context, _ *cli.Context) error { return a.doctor(ctx) }),
	}
}

func (a *app) doctor(ctx context.Context) error {
	all := []finding{{Area: "envctl", Subject: a.Version, State: "ok", Detail: a.Executable}}
	all = append(all, a.examineFolders()...)
	w, err := a.open()
	if err != nil {
		all = append(all, finding{Area: "project", Subject: config.FileName, State: "problem", Detail: err.Error(), Fix: fault.HintOf(err)})
	} else {
		all = append(all, finding{Area: "project", Subject: w.Project.Name, State: "ok", Detail: w.Project.File})
		if !w.Trusted && len(grants(w.Project)) > 0 {
			all = append(all, finding{Area: "project", Subject: "trust", State: "off", Detail: "its commands and URLs are not used", Fix: "envctl trust"})
		}
		for _, c := range w.Project.Components {
			if err := w.Layers(c.Value).Err(); err != nil {
				all = append(all, finding{Area: "layers", Subject: c.Key, State: "problem", Detail: err.Error(), Fix: fault.HintOf(err)})
			} else {
				all = append(all, finding{Area: "layers", Subject: c.Key, State: "ok"})
			}
		}
		all = append(all, a.examineStores(ctx, w)...)
		all = append(all, a.examineRuntimes(ctx, w)...)
		all = append(all, a.examineDokploy(ctx, w)...)
	}
	all = append(all, a.examineOnePassword()...)
	return a.showFindings(all)
}

func (a *app) showFindings(all []finding) error {
	bad := false
	for _, f := range all {
		bad = bad || f.State == "problem"
	}
	if a.ui.JSON {
		if err := a.ui.Document(struct {
			Schema   string    `json:"schema"`
			Findings []finding `json:"findings"`
		}{"envctl.doctor/v1", all}); err != nil {
			return err
		}
	} else {
		tones := map[string]ui.Tone{"ok": ui.Good, "warning": ui.Caution, "problem": ui.Bad, "off": ui.Faint}
		rows := make([][]ui.Cell, len(all))
		for i, f := range all {
			rows[i] = []ui.Cell{ui.C("%s", f.Area), ui.C("%s", f.Subject), ui.Toned(tones[f.State], f.State), ui.C("%s", f.Detail)}
		}
		if err := a.ui.Table([]string{"AREA", "WHAT", "STATE", ""}, rows); err != nil {
			return err
		}
		for _, f := range all {
			if f.Fix != "" && f.State != "ok" {
				a.ui.Note("%s %s: %s", f.Area, f.Subject, f.Fix)
			}
		}
	}
	if bad {
		return silentError{1}
	}
	return nil
}

// examineFolders looks at the operator's own files.
func (a *app) examineFolders() []finding {
	var out []finding
	dirs := a.dirs()
	identity := a.Getenv("ENVCTL_IDENTITY_FILE")
	if identity == "" {
		identity = filepath.Join(dirs.Config, "identity.txt")
	}
	st, err := os.Stat(identity)
	switch {
	case errors.Is(err, os.ErrNotExist):
		out = append(out, finding{Area: "identity", Subject: identity, State: "off", Detail: "none yet; the first write to an embedded store makes one"})
	case err != nil:
		out = append(out, finding{Area: "identity", Subject: identity, State: "problem", Detail: plainCause(err)})
	case st.Mode().Perm()&0o077 != 0:
		out = append(out, finding{Area: "identity", Subject: identity, State: "problem", Detail: "others can read it", Fix: "chmod 600 " + identity})
	default:
		out = append(out, finding{Area: "identity", Subject: identity, State: "ok"})
	}
	records, err := a.journal().List()
	if err != nil {
		out = append(out, finding{Area: "journal", Subject: filepath.Join(dirs.State, "runs"), State: "problem", Detail: err.Error()})
	}
	open := 0
	for _, r := range records {
		if next := r.Next(); next != "" {
			open++
			out = append(out, finding{Area: "journal", Subject: "run " + r.ID, State: "warning", Detail: r.Playbook + " " + r.Environment + " is " + string(r.State), Fix: next})
		}
	}
	if open == 0 && err == nil {
		out = append(out, finding{Area: "journal", Subject: fmt.Sprintf("%d runs", len(records)), State: "ok", Detail: "none stopped part-way"})
	}
	return out
}

// locking says whom a run's lock keeps out.
func locking(store providers.Store) string {
	if _, ok := store.(providers.Shared); ok {
		return "runs are locked on every machine"
	}
	return "runs are locked on this machine only"
}

// examineStores asks each store of the project whether it answers.
func (a *app) examineStores(ctx context.Context, w *playbooks.World) []finding {
	var out []finding
	seen := map[string]bool{}
	for _, name := range w.Project.EnvironmentNames() {
		e, err := w.Project.Environment(name)
		if err != nil || seen[e.Store] {
			continue
		}
		seen[e.Store] = true
		store, err := w.Store(e)
		if err == nil {
			short, cancel := context.WithTimeout(ctx, 5*time.Second)
			_, err = store.List(short, naming.Path{Project: w.Project.Name})
			cancel()
		}
		f := finding{Area: "store", Subject: e.Store, State: "ok"}
		if store != nil {
			f.Detail = store.Describe() + "; " + locking(store)
		}
		if err != nil {
			f.State, f.Detail, f.Fix = "problem", err.Error(), fault.HintOf(err)
		}
		out = append(out, f)
	}
	return out
}

// examineRuntimes asks the docker endpoints that the project's environments use.
func (a *app) examineRuntimes(ctx context.Context, w *playbooks.World) []finding {
	var out []finding
	seen := map[string]bool{}
	for _, name := range w.Project.EnvironmentNames() {
		e, err := w.Project.Environment(name)
		if err != nil {
			continue
		}
		host := a.dockerHost(w, e)
		if seen[host] {
			continue
		}
		seen[host] = true
		rt, err := w.Runtime(e)
		f := finding{Area: "runtime", Subject: dash(host), State: "ok"}
		if err == nil {
			f.Detail = rt.Describe()
			short, cancel := context.WithTimeout(ctx, 5*time.Second)
			_, err = rt.Containers(short, providers.ContainerQuery{Project: w.Project.Name, Environment: e.Name})
			cancel()
		}
		if err != nil {
			f.State, f.Detail, f.Fix = "off", err.Error(), fault.HintOf(err)
			if e.Deploy.Kind != config.DeployNone {
				f.State = "problem"
			}
		}
		out = append(out, f)
	}
	if usesCompose(w) {
		out = append(out, a.examineCompose(ctx))
	}
	return out
}

func usesCompose(w *playbooks.World) bool {
	for _, name := range w.Project.EnvironmentNames() {
		if e, err := w.Project.Environment(name); err == nil && e.Deploy.Kind == config.DeployCompose {
			return true
		}
	}
	return false
}

func (a *app) examineCompose(ctx context.Context) finding {
	f := finding{Area: "deployer", Subject: "docker compose", State: "ok"}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "docker", "compose", "version", "--short").Output()
	if err != nil {
		f.State, f.Detail, f.Fix = "problem", "docker compose v2 does not answer", "install the docker compose plugin"
		return f
	}
	f.Detail = oneLine(strings.TrimSpace(string(out)))
	return f
}

// examineOnePassword says how an op:// reference would be resolved.
func (a *app) examineOnePassword() []finding {
	u, err := config.LoadUser(a.dirs())
	if err != nil {
		return []finding{{Area: "operator", Subject: "config.yaml", State: "problem", Detail: err.Error(), Fix: fault.HintOf(err)}}
	}
	route, why := a.resolver(u)().Route()
	if route == "" {
		return []finding{{Area: "1password", Subject: "none", State: "off", Detail: why}}
	}
	return []finding{{Area: "1password", Subject: route, State: "ok", Detail: why}}
}
