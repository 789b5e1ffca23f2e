package commands

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"envctl/internal/atomicfile"
	"envctl/internal/fault"
	"envctl/providers/embedded"
)

const (
	mergeDriver     = "envctl store merge %O %A %B"
	mergeDriverName = "envctl store, merged key by key"
)

// gitTop returns the root of the checkout that holds dir, "" outside one.
func gitTop(dir string) string {
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Lstat(filepath.Join(d, ".git")); err == nil {
			return d
		}
		if d == filepath.Dir(d) {
			return ""
		}
	}
}

// gitRemoteName returns the repository's name in the URL of the remote origin,
// "" where there is none. It reads git's file, so that nothing is started.
func gitRemoteName(dir string) string {
	g := gitDir(dir)
	if g == "" {
		return ""
	}
	data, err := os.ReadFile(filepath.Join(g, "config"))
	if err != nil {
		return ""
	}
	origin := false
	for _, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			origin = line == `[remote "origin"]`
			continue
		}
		key, url, ok := strings.Cut(line, "=")
		if origin && ok && strings.TrimSpace(key) == "url" {
			url = strings.TrimRight(strings.TrimSpace(url), "/")
			name := url[strings.LastIndexAny(url, "/:")+1:]
			return strings.TrimSuffix(name, ".git")
		}
	}
	return ""
}

// git runs git in the project's folder. Its exit code tells, where it ran.
func (a *app) git(ctx context.Context, root string, args ...string) (out string, code int, err error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...)
	cmd.Env = a.childEnvironment(nil, false)
	text, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return strings.TrimSpace(string(text)), exit.ExitCode(), nil
	}
	return strings.TrimSpace(string(text)), 0, err
}

// initGit looks at what keeps .env out of git and lets git merge the store.
func (a *app) initGit(ctx context.Context, in *initial) error {
	root := in.project.Root
	_, lookErr := exec.LookPath("git")
	useGit := in.top != "" && lookErr == nil
	ignored := func(rel string, lines []string) (bool, error) {
		if !useGit {
			return ignoredBy(lines, rel), nil
		}
		_, code, err := a.git(ctx, root, "check-ignore", "-q", "--no-index", rel)
		return code == 0, err
	}
	file := filepath.Join(root, ".gitignore")
	before, lines, err := readLines(file)
	if err != nil {
		return err
	}
	var add []string
	if usesLocal(in.project) {
		pattern := path.Dir(StoreFile) + "/" + embedded.IgnorePattern(StoreFile)
		if !contains(lines, pattern) {
			add = append(add, pattern)
		}
		hidden, err := ignored(StoreFile, lines)
		if err != nil {
			return err
		}
		if hidden {
			a.ui.Warn("git ignores %s, so nobody else gets it: take the pattern out of .gitignore", StoreFile)
		}
	}
	hidden, err := ignored(".env", lines)
	if err != nil {
		return err
	}
	if !hidden {
		add = append(add, ".env")
	}
	in.items = append(in.items, linesItem(".gitignore", file, before, add))
	if useGit {
		for _, c := range in.project.Components {
			for _, f := range c.Value.Dotenv {
				if out, _, err := a.git(ctx, root, "ls-files", "--", f); err == nil && out != "" {
					a.ui.Warn("%s is tracked by git: run git rm --cached %s, and rotate what it holds", f, f)
				}
			}
		}
	}
	if in.top == "" || !usesLocal(in.project) {
		return nil
	}
	return a.initMerge(ctx, in, useGit)
}

// initMerge lets git merge the store by envctl itself.
func (a *app) initMerge(ctx context.Context, in *initial, useGit bool) error {
	file := filepath.Join(in.project.Root, ".gitattributes")
	before, lines, err := readLines(file)
	if err != nil {
		return err
	}
	var add []string
	if !attributed(lines) {
		add = []string{StoreFile + " merge=envctl -text -diff"}
	}
	in.items = append(in.items, linesItem(".gitattributes", file, before, add))
	driver := initItem{What: "merge driver", Path: "git config merge.envctl.driver", State: "kept"}
	if !useGit {
		driver.State, driver.Detail = "none", `git is not installed; later: git config merge.envctl.driver "`+mergeDriver+`"`
		in.items = append(in.items, driver)
		return nil
	}
	now, _, err := a.git(ctx, in.project.Root, "config", "--local", "--get", "merge.envctl.driver")
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "read git's configuration", "run git config --local --list")
	}
	if now == mergeDriver {
		in.items = append(in.items, driver)
		return nil
	}
	driver.State, driver.Detail = "add", mergeDriver
	driver.do = func(ctx context.Context) error {
		for _, kv := range [][2]string{{"merge.envctl.name", mergeDriverName}, {"merge.envctl.driver", mergeDriver}} {
			if _, code, err := a.git(ctx, in.project.Root, "config", "--local", kv[0], kv[1]); err != nil || code != 0 {
				return fault.Newf(fault.Unavailable, "git config "+kv[0], `run it yourself: git config merge.envctl.driver "`+mergeDriver+`"`, "git ended with %d", code)
			}
		}
		return nil
	}
	in.items = append(in.items, driver)
	return nil
}

// linesItem is the item of a file that lacks lines, or none.
func linesItem(name, file string, before []byte, add []string) initItem {
	item := initItem{What: name, Path: file, State: "kept"}
	if len(add) > 0 {
		item.State, item.Detail = "add", strings.Join(add, ", ")
		item.do = func(context.Context) error { return appendLines(file, before, add) }
	}
	return item
}

func readLines(file string) (data []byte, lines []string, err error) {
	data, err = atomicfile.Read(file, 1<<20)
	if fault.Is(err, fault.NotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, l := range strings.Split(string(data), "\n") {
		lines = append(lines, strings.TrimSpace(l))
	}
	return data, lines, nil
}

// ignoredBy is the plain part of git's rules, for a folder without git.
func ignoredBy(lines []string, rel string) bool {
	hidden := false
	for _, l := range lines {
		pattern, negated := strings.CutPrefix(l, "!")
		pattern = strings.TrimPrefix(pattern, "/")
		if match, err := path.Match(pattern, rel); err == nil && match || strings.TrimSuffix(pattern, "/") == path.Dir(rel) {
			hidden = !negated
		}
	}
	return hidden
}

// attributed tells whether the store has its merge driver in .gitattributes.
func attributed(lines []string) bool {
	on := false
	for _, l := range lines {
		fields := strings.Fields(l)
		if len(fields) < 2 || strings.TrimPrefix(fields[0], "/") != StoreFile {
			continue
		}
		for _, f := range fields[1:] {
			if strings.HasPrefix(f, "merge") || f == "-merge" || f == "!merge" {
				on = f == "merge=envctl"
			}
		}
	}
	return on
}
