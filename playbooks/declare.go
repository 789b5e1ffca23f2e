package playbooks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"slices"
	"strings"

	"envctl/internal/atomicfile"
	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
)

// Fields of the receipt of an edit of the project file.
const (
	fieldLine   = "line"   // what was added, folded
	fieldBefore = "before" // digests of the whole file
	fieldAfter  = "after"
)

// declareStep adds the environment's line to the project file, if the file is
// still the one that was planned from.
func (w *World) declareStep(name, line string, edited []byte) plan.Step {
	return plan.Step{
		ID: "declare", Title: "add " + name + " to " + config.FileName, Risk: plan.Writes,
		Do: func(_ context.Context, page *plan.Page) (plan.Receipt, error) {
			prior, cut := page.Prior()
			if edited == nil {
				return prior, nil // it is there already
			}
			now, err := w.projectNow()
			if err != nil {
				return nil, err
			}
			if string(now) != string(w.Project.Data) {
				return nil, fault.New(fault.Conflict, "write "+config.FileName, "it was changed while the plan was made", "run envctl env create "+name+" again")
			}
			r := plan.Receipt{fieldLine: clip(line), fieldBefore: digest(now), fieldAfter: digest(edited)}
			if cut && prior[fieldBefore] == r[fieldBefore] && prior[fieldAfter] == r[fieldAfter] {
				r = prior
			}
			if err := page.Intend(r); err != nil {
				return nil, err
			}
			return r, atomicfile.Write(w.Project.File, edited, fileMode(w.Project.File))
		},
		Undo: func(_ context.Context, r plan.Receipt) error { return w.undeclare(name, r) },
	}
}

// undeclare takes the line out again: to the byte where the file is as the run
// left it, else the line alone, and not one that was changed since.
func (w *World) undeclare(name string, r plan.Receipt) error {
	now, err := w.projectNow()
	if err != nil || digest(now) == r[fieldBefore] {
		return err
	}
	lines := strings.SplitAfter(string(now), "\n")
	var without string
	for i, l := range lines {
		if r[fieldLine] == "" || clip(l) != r[fieldLine] {
			continue
		}
		text := strings.Join(slices.Delete(slices.Clone(lines), i, i+1), "")
		header := text
		if i > 0 && strings.TrimSpace(lines[i-1]) == "environments:" { // added with the line, where there was none
			header = strings.Join(slices.Delete(slices.Clone(lines), i-1, i+1), "")
		}
		for _, t := range []string{text, strings.TrimSuffix(text, "\n"), header, strings.TrimSuffix(header, "\n")} {
			if digest([]byte(t)) == r[fieldBefore] {
				return atomicfile.Write(w.Project.File, []byte(t), fileMode(w.Project.File))
			}
		}
		if !declares([]byte(text), name) {
			without = text
		}
	}
	switch {
	case without != "":
		if _, err := config.Parse(config.FileName, []byte(without)); err != nil {
			return fault.Newf(fault.Conflict, "undo the edit of "+config.FileName, "take "+name+" out by hand, then undo again", "it was changed since, and is no project file without %s", name)
		}
		return atomicfile.Write(w.Project.File, []byte(without), fileMode(w.Project.File))
	case declares(now, name):
		return fault.Newf(fault.Conflict, "undo the edit of "+config.FileName, "take "+name+" out by hand, then undo again", "the entry of %s was changed since, and stays", name)
	}
	return nil
}

// declares tells whether a project file has an entry of exactly that name.
func declares(data []byte, name string) bool {
	p, err := config.Parse(config.FileName, data)
	if err != nil {
		return false
	}
	_, ok := p.Environments.Get(name)
	return ok
}

func (w *World) projectNow() ([]byte, error) {
	now, err := os.ReadFile(w.Project.File)
	return now, fault.Wrap(err, fault.Invalid, "read "+config.FileName, "envctl runs")
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func fileMode(path string) os.FileMode {
	if st, err := os.Stat(path); err == nil {
		return st.Mode().Perm()
	}
	return 0o644
}
