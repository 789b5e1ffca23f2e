package commands

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"envctl/internal/atomicfile"
	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/internal/ui"
	"envctl/naming"
	"envctl/playbooks"
	"envctl/providers/embedded"
)

type initOptions struct {
	project, store, recoveryFile string
	noRecovery, passphrase       bool
}

func (a *app) initCommand() *cli.Command {
	return &cli.Command{
		Name: "init", Usage: "Set up a project: find its layers, write envctl.yaml", Category: "project",
		Description: "Writes only what is missing: a project file that stands is left byte for byte as it is. The store gets a\nrecovery recipient, whose identity is shown once on a terminal or written to --recovery-file.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "no-recovery", Usage: "make no recovery recipient: who loses the identity loses every value"},
			&cli.BoolFlag{Name: "passphrase", Usage: "protect a new identity by a passphrase"},
			&cli.StringFlag{Name: "project", Usage: "the project's `NAME` (default: what templates, git remote or folder say)"},
			&cli.StringFlag{Name: "recovery-file", Usage: "write the recovery identity to `FILE`, outside the repository"},
			&cli.StringFlag{Name: "store", Usage: "where values live: local or vault (`KIND`)"},
		},
		Action: a.action(0, 0, func(ctx context.Context, c *cli.Context) error {
			return a.init(ctx, initOptions{
				project: c.String("project"), store: c.String("store"), recoveryFile: c.String("recovery-file"),
				noRecovery: c.Bool("no-recovery"), passphrase: c.Bool("passphrase"),
			})
		}),
	}
}

// initItem is one thing that init looks at.
type initItem struct {
	What   string `json:"what"`
	Path   string `json:"path"`
	State  string `json:"state"` // created, added, kept, none; in a dry run: create, add
	Detail string `json:"detail,omitempty"`

	do func(context.Context) error // nil: nothing to do
}

type initDocument struct {
	Schema  string     `json:"schema"`
	Project string     `json:"project"`
	Root    string     `json:"root"`
	Store   string     `json:"store"`
	Items   []initItem `json:"items"`
	Changed bool       `json:"changed"`
	DryRun  bool       `json:"dry_run,omitempty"`
	Next    string     `json:"next"`
}

// initial is what init works on.
type initial struct {
	project *config.Project
	text    []byte // of a project file to write; nil: it stands
	unread  []error
	top     string // the checkout that holds the project, "" outside git
	items   []initItem
	next    string
}

func (a *app) init(ctx context.Context, o initOptions) error {
	if o.noRecovery && o.recoveryFile != "" {
		return fault.New(fault.Usage, "init", "--no-recovery and --recovery-file exclude each other", "choose one")
	}
	in, err := a.initProject(o)
	if err != nil {
		return err
	}
	in.top = gitTop(in.project.Root)
	if usesLocal(in.project) {
		if err := a.initStore(ctx, o, in); err != nil {
			return err
		}
	}
	a.initProjectFile(in)
	if err := a.initGit(ctx, in); err != nil {
		return err
	}
	changed := false
	for i := range in.items {
		item := &in.items[i]
		if item.do == nil {
			continue
		}
		changed = true
		if a.globals.dryRun {
			continue
		}
		a.ui.Progress("making " + item.What) // a passphrase takes a second
		err := item.do(ctx)
		a.ui.Progress("")
		if err != nil {
			return err
		}
		item.State = map[string]string{"create": "created", "add": "added"}[item.State]
	}
	for _, e := range in.unread {
		a.ui.Warn("%v", e)
	}
	return a.sayInit(in, changed)
}

// initProject loads the project file that stands, or proposes one.
func (a *app) initProject(o initOptions) (*initial, error) {
	if o.store != "" && o.store != config.StoreLocal && o.store != config.StoreVault {
		return nil, fault.Newf(fault.Usage, "init --store "+o.store, "choose local or vault", "no such kind of store")
	}
	if o.project != "" {
		if err := naming.CheckSegment("project", o.project); err != nil {
			return nil, fault.Wrap(err, fault.Usage, "init --project", "try --project "+orElse(playbooks.Legal(o.project), "ledger"))
		}
	}
	file, err := a.projectFile()
	if err == nil {
		if _, serr := os.Stat(file); serr == nil {
			w, err := a.open()
			if err != nil {
				return nil, err
			}
			for _, f := range []struct{ flag, want, have string }{{"project", o.project, w.Project.Name}, {"store", o.store, w.Project.Store}} {
				if f.want != "" && f.want != f.have {
					return nil, fault.Newf(fault.Refused, "init --"+f.flag+" "+f.want, "edit the file, or leave the flag out", "%s says %s, and init leaves it as it is", w.Project.File, f.have)
				}
			}
			return &initial{project: w.Project}, nil
		}
	}
	folder := a.WorkDir
	if a.globals.config != "" {
		if filepath.Base(file) != config.FileName {
			return nil, fault.Newf(fault.Usage, "init --config "+a.globals.config, "name a file called "+config.FileName, "a project file is called %s", config.FileName)
		}
		folder = filepath.Dir(file)
	}
	if folder, err = filepath.EvalSymlinks(folder); err != nil {
		return nil, fault.Newf(fault.Usage, "init in "+folder, "name an existing folder", "%s", plainCause(err))
	}
	found, err := playbooks.Discover(folder)
	if err != nil {
		return nil, err
	}
	name := o.project
	for _, candidate := range []string{found.Project, playbooks.Legal(gitRemoteName(folder)), playbooks.Legal(filepath.Base(folder))} {
		if name == "" {
			name = candidate
		}
	}
	if name == "" {
		return nil, fault.New(fault.Usage, "init", "neither the folder nor a git remote gives the project a name", "add --project NAME")
	}
	text, p, err := playbooks.Propose(folder, found, name, orElse(o.store, config.StoreLocal))
	if err != nil {
		return nil, err
	}
	if err := (&playbooks.World{Project: p, User: &config.User{}}).CheckNames(); err != nil {
		return nil, err
	}
	return &initial{project: p, text: text, unread: found.Unread}, nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func (a *app) initProjectFile(in *initial) {
	item := initItem{What: "project file", Path: in.project.File, State: "kept"}
	components := strings.Join(in.project.ComponentNames(), ", ")
	if in.text != nil {
		item.State, item.Detail = "create", "components: "+components
		item.do = func(context.Context) error { return createFile(in.project.File, in.text, 0o644) }
	}
	in.items = append(in.items, item)
}

// createFile writes a file that must not exist.
func createFile(path string, data []byte, perm fs.FileMode) error {
	op := "create " + path
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if errors.Is(err, fs.ErrExist) {
		return fault.New(fault.Conflict, op, "it exists already, and nothing is overwritten", "name another file, or move it away")
	}
	if err == nil {
		_, err = f.Write(data)
		if err == nil {
			err = f.Sync()
		}
		if err = errors.Join(err, f.Close()); err != nil {
			_ = os.Remove(path) // ours, and not whole
		}
	}
	if err != nil {
		return fault.Newf(fault.Unavailable, op, "check the folder and the disk", "%s", plainCause(err))
	}
	return nil
}

// initStore looks at identity, store and recovery recipient, and settles what
// has to be asked before anything is written.
func (a *app) initStore(ctx context.Context, o initOptions, in *initial) error {
	u, err := config.LoadUser(a.dirs())
	if err != nil {
		return err
	}
	c := a.embeddedConfig(in.project.Root, a.dirs(), u.Author)
	_, err = os.Lstat(c.Identity)
	hasIdentity := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.Newf(fault.Unavailable, "read identity "+c.Identity, "check its folder", "%s", plainCause(err))
	}
	exists, err := embedded.Open(c).Exists()
	if err != nil {
		return err
	}
	var phrase secret.Value
	if !hasIdentity && o.passphrase && !a.globals.dryRun {
		if phrase, err = a.newPassphrase(ctx); err != nil {
			return err
		}
		c.Passphrase = func(string) (secret.Value, error) { return phrase, nil }
	}
	identity := initItem{What: "identity", Path: c.Identity, State: "kept"}
	if !hasIdentity {
		identity.State, identity.Detail = "create", "back it up: without it you cannot read the store"
		identity.do = func(ctx context.Context) error {
			_, err := embedded.GenerateIdentity(ctx, c.Identity, phrase)
			return err
		}
	} else if o.passphrase {
		identity.Detail = "its passphrase, if any, stays as it is"
	}
	store := initItem{What: "store", Path: c.File, State: "kept"}
	if exists {
		in.items = append(in.items, identity)
		return a.initExisting(ctx, o, in, c, hasIdentity, store)
	}
	recovery, r, err := a.initRecovery(ctx, o, in)
	if err != nil {
		return err
	}
	store.State = "create"
	store.do = func(ctx context.Context) error {
		err := os.MkdirAll(filepath.Dir(c.File), 0o700)
		if err != nil {
			err = fault.Newf(fault.Unavailable, "create "+filepath.Dir(c.File), "check the folder's permissions", "%s", plainCause(err))
		} else if r.Key == "" {
			_, err = embedded.Create(ctx, c)
		} else {
			_, err = embedded.Create(ctx, c, r)
		}
		if err != nil && recovery.do != nil && o.recoveryFile != "" {
			_ = os.Remove(a.abs(o.recoveryFile)) // it opens nothing
		}
		return err
	}
	in.items = append(in.items, identity, recovery, store)
	return nil
}

// initExisting looks at a store that stands: who made a new identity on a
// colleague's clone is told what to ask for, and a store without a recovery
// recipient may get one.
func (a *app) initExisting(ctx context.Context, o initOptions, in *initial, c embedded.Config, hasIdentity bool, store initItem) error {
	if !hasIdentity {
		store.Detail = "not readable by you yet"
		in.items = append(in.items, store)
		in.next = "ask someone who can read it to run: envctl store recipients add NAME KEY (your KEY: the age1… line of " + c.Identity + ")"
		return nil
	}
	s := embedded.Open(c)
	list, err := s.Recipients(ctx)
	if fault.Is(err, fault.WrongIdentity, fault.Denied) {
		store.Detail = "not readable by you: " + err.Error()
		in.next = fault.HintOf(err)
		in.items = append(in.items, store)
		return nil
	}
	if err != nil {
		return err
	}
	names := make([]string, len(list))
	for i, r := range list {
		names[i] = r.Name
	}
	store.Detail = "readable by " + strings.Join(names, ", ")
	in.items = append(in.items, store)
	if slices.Contains(names, "recovery") {
		in.items = append(in.items, initItem{What: "recovery", Path: c.File, State: "kept"})
		return nil
	}
	wanted := !o.noRecovery && (o.recoveryFile != "" || a.ui.CanAsk())
	if wanted && o.recoveryFile == "" && !a.globals.yes && !a.globals.dryRun {
		if wanted, err = a.ui.Ask().Confirm(ctx, "the store has no recovery recipient; add one?"); err != nil {
			return err
		}
	}
	if !wanted {
		in.items = append(in.items, initItem{What: "recovery", Path: c.File, State: "none", Detail: "add one: envctl init --recovery-file FILE"})
		return nil
	}
	recovery, r, err := a.initRecovery(ctx, o, in)
	if err != nil {
		return err
	}
	write := recovery.do
	recovery.State = "add"
	recovery.do = func(ctx context.Context) error {
		if write != nil {
			if err := write(ctx); err != nil {
				return err
			}
		}
		return s.AddRecipient(ctx, r.Name, r.Key)
	}
	in.items = append(in.items, recovery)
	return nil
}

// initRecovery makes the recovery recipient and settles where its identity goes:
// nowhere, to a file, or once to the terminal. Usage where nothing says.
func (a *app) initRecovery(ctx context.Context, o initOptions, in *initial) (initItem, embedded.Recipient, error) {
	item := initItem{What: "recovery", State: "none"}
	if o.noRecovery {
		item.Detail = "who loses the identity loses every value; add one: envctl init --recovery-file FILE"
		return item, embedded.Recipient{}, nil
	}
	item.State, item.Path = "create", "(shown once)"
	if o.recoveryFile != "" {
		item.Path, item.Detail = a.abs(o.recoveryFile), "keep it off this machine: it opens the store"
		if err := outside(item.Path, in); err != nil {
			return item, embedded.Recipient{}, err
		}
	} else if !a.ui.CanAsk() && !a.globals.dryRun {
		return item, embedded.Recipient{}, fault.New(fault.Usage, "init", "there is no terminal to show the recovery identity on, and nothing was written",
			"add --recovery-file FILE (outside the repository), or --no-recovery")
	}
	if a.globals.dryRun {
		if o.recoveryFile == "" && !a.ui.CanAsk() {
			item.Detail = "needs a terminal, --recovery-file FILE or --no-recovery"
		}
		item.do = func(context.Context) error { return nil }
		return item, embedded.Recipient{}, nil
	}
	r, identity, err := embedded.NewRecovery()
	if err != nil {
		return item, r, err
	}
	if o.recoveryFile != "" {
		item.do = func(context.Context) error {
			text := fmt.Sprintf("# envctl: recovery identity of the project %s\n# public key: %s\n%s\n", in.project.Name, r.Key, reveal1(identity))
			return createFile(item.Path, []byte(text), 0o600)
		}
		return item, r, nil
	}
	fmt.Fprintf(a.ui.Err, "\nThe recovery identity opens the store of %s when yours is lost. It is shown once\nand kept nowhere: put it into a password manager or a safe.\n\n  %s\n\n", in.project.Name, reveal1(identity))
	if err := a.agree(ctx, "init", "is it stored?"); err != nil {
		return item, r, err
	}
	item.do = func(context.Context) error { return nil }
	return item, r, nil
}

// outside refuses a recovery file in the repository it is to recover, or in
// the project's folder.
func outside(file string, in *initial) error {
	op := "init --recovery-file " + file
	if _, err := os.Lstat(file); err == nil {
		return fault.New(fault.Refused, op, "it exists already, and nothing is overwritten", "name a new file")
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(file))
	if err != nil {
		return fault.New(fault.Usage, op, "there is no such folder", "name a file in an existing folder")
	}
	for _, root := range []string{in.top, in.project.Root} {
		if root == "" {
			continue
		}
		if real, err := filepath.EvalSymlinks(root); err == nil {
			root = real
		}
		if rel, err := filepath.Rel(root, dir); err == nil && filepath.IsLocal(rel) {
			return fault.Newf(fault.Refused, op, "name a file outside "+root+", best on another device", "it lies in the repository, and would be committed beside the store that it opens")
		}
	}
	return nil
}

// newPassphrase asks twice.
func (a *app) newPassphrase(ctx context.Context) (secret.Value, error) {
	first, err := a.ui.Ask().Hidden(ctx, "Passphrase of the new identity")
	if err != nil {
		return first, err
	}
	if first.Len() == 0 {
		return first, fault.New(fault.Refused, "init --passphrase", "the passphrase is empty", "leave --passphrase out for an identity without one")
	}
	second, err := a.ui.Ask().Hidden(ctx, "Again")
	if err == nil && !first.Equal(second) {
		err = fault.New(fault.Usage, "init --passphrase", "the two differ, nothing was written", "run the command again")
	}
	return first, err
}

func (a *app) sayInit(in *initial, changed bool) error {
	p := in.project
	if in.next == "" {
		in.next = nextStep(p)
	}
	if a.ui.JSON {
		return a.ui.Document(initDocument{
			Schema: "envctl.init/v1", Project: p.Name, Root: p.Root, Store: p.Store, Items: in.items, Changed: changed, DryRun: a.globals.dryRun, Next: in.next,
		})
	}
	rows := make([][]ui.Cell, len(in.items))
	for i, item := range in.items {
		tone := ui.Good
		switch item.State {
		case "kept":
			tone = ui.Faint
		case "none":
			tone = ui.Caution
		}
		state := item.State
		if a.globals.dryRun && item.do != nil {
			state = "would " + state
		}
		rows[i] = []ui.Cell{ui.Toned(tone, state), ui.C("%s", item.What), ui.C("%s", a.shortPath(p.Root, item.Path)), ui.C("%s", item.Detail)}
	}
	if err := a.ui.Table([]string{"STATE", "WHAT", "WHERE", ""}, rows); err != nil {
		return err
	}
	if a.globals.dryRun {
		if in.text != nil {
			a.ui.Print("\n%s", strings.TrimSuffix(string(in.text), "\n"))
		}
		a.ui.Note("dry run: nothing was written")
		return nil
	}
	if !changed {
		a.ui.Note("%s is set up already, nothing was changed", p.Name)
	}
	a.ui.Note("next: %s", in.next)
	return nil
}

// nextStep is what to type after init.
func nextStep(p *config.Project) string {
	names := p.EnvironmentNames()
	if len(names) == 0 {
		return "envctl env create local"
	}
	env := names[0]
	if slices.Contains(names, "local") {
		env = "local"
	}
	for _, c := range p.Components {
		for _, f := range c.Value.Dotenv {
			if _, err := os.Stat(filepath.Join(p.Root, filepath.FromSlash(f))); err == nil {
				return "envctl import " + f + " --env " + env + " --component " + c.Key
			}
		}
	}
	return "envctl env create " + env
}

// shortPath writes a path as seen from the project, or from the operator's home.
func (a *app) shortPath(root, path string) string {
	if rel, err := filepath.Rel(root, path); err == nil && filepath.IsLocal(rel) && filepath.IsAbs(path) {
		return rel
	}
	if filepath.IsAbs(path) && filepath.Dir(path) == filepath.Dir(root) {
		return filepath.Join("..", filepath.Base(path))
	}
	if home := a.Getenv("HOME"); home != "" {
		if rel, err := filepath.Rel(home, path); err == nil && filepath.IsLocal(rel) && filepath.IsAbs(path) {
			return "~/" + rel
		}
	}
	return path
}

// appendLines adds lines to a text file, or makes it; every byte that was there
// stays.
func appendLines(path string, before []byte, lines []string) error {
	perm := fs.FileMode(0o644)
	if st, err := os.Stat(path); err == nil {
		perm = st.Mode().Perm()
	}
	text := string(before)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return atomicfile.Write(path, []byte(text+strings.Join(lines, "\n")+"\n"), perm)
}
