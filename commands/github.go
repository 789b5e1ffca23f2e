package commands

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/internal/ui"
)

// inGitHub tells whether this is a step of a GitHub Actions job, whose runner reads
// workflow commands from both of a step's streams.
func (a *app) inGitHub() bool { return a.Getenv("GITHUB_ACTIONS") == "true" }

// workflowData and workflowProperty escape what a workflow command may not hold.
var (
	workflowData     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")                         //nolint:gochecknoglobals // a constant table
	workflowProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C") //nolint:gochecknoglobals // a constant table
)

// annotate writes a workflow command that GitHub shows beside the change: on
// standard error, since standard output is the bare answer.
func (a *app) annotate(level, title, message, file string, line int) {
	at := ""
	if file != "" {
		at = "file=" + workflowProperty.Replace(ui.Clean(file)) + ","
		if line > 0 {
			at += fmt.Sprintf("line=%d,", line)
		}
	}
	fmt.Fprintf(a.ui.Err, "::%s %stitle=%s::%s\n", level, at, workflowProperty.Replace(ui.Clean(title)), workflowData.Replace(ui.Clean(message)))
}

// annotateError shows a failure beside the line that it is about, if it names one.
// Under --json and --events standard error is for programs: nothing is added there.
func (a *app) annotateError(err error) {
	if !a.inGitHub() || a.ui.JSON || a.globals.events || a.command == "" {
		return
	}
	message := err.Error()
	if hint := fault.HintOf(err); hint != "" {
		message += "\nhint: " + hint
	}
	file, line := a.placeOf(err)
	a.annotate("error", "envctl "+a.command, message, file, line)
}

// placeOf returns the file, from the workspace's folder, and the line that an error
// is about.
func (a *app) placeOf(err error) (string, int) {
	place := regexp.MustCompile(`^(\S+):(\d+)$`)
	for ; err != nil; err = errors.Unwrap(err) {
		known, ok := err.(*fault.Error) //nolint:errorlint // each link is looked at
		if !ok {
			continue
		}
		m := place.FindStringSubmatch(known.Op)
		if m == nil {
			continue
		}
		file := m[1]
		if !filepath.IsAbs(file) && a.world != nil {
			file = filepath.Join(a.world.Project.Root, file)
		}
		if rel, rerr := filepath.Rel(a.Getenv("GITHUB_WORKSPACE"), a.abs(file)); rerr == nil && filepath.IsLocal(rel) {
			file = filepath.ToSlash(rel)
		}
		n, _ := strconv.Atoi(m[2]) // digits
		return file, n
	}
	return "", 0
}

// mask has the runner hide values in whatever the job prints from now on. It does
// so before they leave, and only where a runner listens: a standard error that is a
// file would keep them in clear, and masks nothing.
func (a *app) mask(values ...secret.Value) {
	a.maskAll(func() []secret.Value { return values })
}

// maskAll is mask for values that are dear to find.
func (a *app) maskAll(find func() []secret.Value) {
	if !a.inGitHub() {
		return
	}
	if f, ok := a.ui.Err.(*os.File); ok {
		if st, err := f.Stat(); err != nil || st.Mode().IsRegular() {
			a.ui.Warn("standard error is a file, so that GitHub hides nothing of what is printed now")
			return
		}
	}
	var lines []string
	for _, v := range find() {
		lines = append(lines, masks(v)...)
	}
	slices.Sort(lines)
	for _, l := range slices.Compact(lines) {
		fmt.Fprintf(a.ui.Err, "::add-mask::%s\n", workflowData.Replace(l))
	}
}
