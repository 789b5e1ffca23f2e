package commands

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"envctl/internal/atomicfile"
	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/ui"
	"envctl/providers/embedded"
)

func (a *app) storeCommand() *cli.Command {
	return &cli.Command{
		Name: "store", Usage: "Manage the embedded store: readers, integrity, branches", Category: "project",
		Subcommands: []*cli.Command{
			{
				Name: "recipients", Usage: "Say who can read the store",
				Subcommands: []*cli.Command{
					{
						Name: "list", Usage: "List who can read the store",
						Action: a.action(0, 0, func(ctx context.Context, _ *cli.Context) error { return a.recipientsList(ctx) }),
					},
					{
						Name: "add", Usage: "Let one more read the store", ArgsUsage: "NAME AGE_PUBLIC_KEY",
						Action: a.action(2, 2, func(ctx context.Context, c *cli.Context) error {
							return a.recipientsAdd(ctx, c.Args().Get(0), c.Args().Get(1))
						}),
					},
					{
						Name: "remove", Usage: "End one's access to what is written from now on, and re-key the store", ArgsUsage: "NAME",
						Action: a.action(1, 1, func(ctx context.Context, c *cli.Context) error {
							return a.recipientsRemove(ctx, c.Args().First())
						}),
					},
				},
			},
			{
				Name: "verify", Usage: "Check the store's integrity, and that it is the one last seen here",
				Flags: []cli.Flag{
					&cli.BoolFlag{Name: "accept", Usage: "trust the file as it is, rolled back or replaced though it may be"},
				},
				Action: a.action(0, 0, func(ctx context.Context, c *cli.Context) error { return a.storeVerify(ctx, c.Bool("accept")) }),
			},
			{
				Name: "rekey", Usage: "Give the store new integrity and fingerprint keys",
				Action: a.action(0, 0, func(ctx context.Context, _ *cli.Context) error { return a.storeRekey(ctx) }),
			},
			{
				Name: "merge", Usage: "Join two branches of the store, as git's merge driver", ArgsUsage: "BASE OURS THEIRS",
				Description: "Writes the result over OURS. Where both sides changed the same key nothing is written: exit 6.\nenvctl init makes git run it: merge.envctl.driver = envctl store merge %O %A %B",
				Flags: []cli.Flag{
					&cli.BoolFlag{Name: "ours", Usage: "where both sides changed a key, ours stands"},
					&cli.BoolFlag{Name: "theirs", Usage: "where both sides changed a key, theirs stands"},
				},
				Action: a.action(3, 3, func(ctx context.Context, c *cli.Context) error {
					return a.storeMerge(ctx, c.Args().Slice(), c.Bool("ours"), c.Bool("theirs"))
				}),
			},
		},
	}
}

// localStore opens the project's embedded store. Usage where no environment
// that is meant keeps its values there.
func (a *app) localStore(op string) (*embedded.Store, error) {
	w, err := a.open()
	if err != nil {
		return nil, err
	}
	const hint = "a Vault server says itself who may read: see its policies; this command is for store: local"
	if name := a.globals.env; name != "" {
		e, err := w.Project.Environment(name)
		if err != nil {
			return nil, err
		}
		if e.Store != config.StoreLocal {
			return nil, fault.Newf(fault.Usage, op, hint, "%s keeps its values in %s, not in the embedded store", name, e.Store)
		}
	} else if !usesLocal(w.Project) {
		return nil, fault.Newf(fault.Usage, op, hint, "no environment of %s keeps its values in the embedded store", config.FileName)
	}
	return embedded.Open(a.embeddedConfig(w.Project.Root, w.Dirs, w.User.Author)), nil
}

// usesLocal tells whether any environment of a project is on the embedded store.
func usesLocal(p *config.Project) bool {
	if len(p.Environments) == 0 {
		return p.Store == config.StoreLocal
	}
	for _, e := range p.Environments {
		if e.Value.Store == config.StoreLocal || e.Value.Store == "" && p.Store == config.StoreLocal {
			return true
		}
	}
	return false
}

type recipientRow struct {
	Name  string    `json:"name"`
	Key   string    `json:"key"`
	Added time.Time `json:"added"`
	You   bool      `json:"you,omitempty"`
}

type recipientsDocument struct {
	Schema     string         `json:"schema"`
	File       string         `json:"file"`
	Recipients []recipientRow `json:"recipients"`
	Added      string         `json:"added,omitempty"`
	Removed    string         `json:"removed,omitempty"`
	DryRun     bool           `json:"dry_run,omitempty"`
}

// recipients reads who can read the store.
func (a *app) recipients(ctx context.Context, s *embedded.Store) (recipientsDocument, error) {
	doc := recipientsDocument{Schema: "envctl.store-recipients/v1", File: s.Config().File, Recipients: []recipientRow{}, DryRun: a.globals.dryRun}
	list, err := s.Recipients(ctx)
	if err != nil {
		return doc, err
	}
	own, err := s.Self(ctx)
	if err != nil {
		return doc, err
	}
	for _, r := range list {
		doc.Recipients = append(doc.Recipients, recipientRow{r.Name, r.Key, r.Added, r.Key == own})
	}
	return doc, nil
}

func (a *app) recipientsList(ctx context.Context) error {
	s, err := a.localStore("list recipients")
	if err != nil {
		return err
	}
	doc, err := a.recipients(ctx, s)
	if err != nil {
		return err
	}
	if a.ui.JSON {
		doc.DryRun = false
		return a.ui.Document(doc)
	}
	rows := make([][]ui.Cell, len(doc.Recipients))
	for i, r := range doc.Recipients {
		you := ""
		if r.You {
			you = "you"
		}
		rows[i] = []ui.Cell{ui.C("%s", r.Name), ui.C("%s", r.Key), ui.C("%s", r.Added.Format(time.RFC3339)), ui.Toned(ui.Good, you)}
	}
	return a.ui.Table([]string{"NAME", "KEY", "ADDED", ""}, rows)
}

func (a *app) recipientsAdd(ctx context.Context, name, key string) error {
	if strings.HasPrefix(name, "age1") && !strings.HasPrefix(key, "age1") {
		return fault.New(fault.Usage, "add recipient", "the name comes first, then the key", "run envctl store recipients add NAME "+name)
	}
	s, err := a.localStore("add recipient " + name)
	if err != nil {
		return err
	}
	if a.globals.dryRun {
		list, err := s.Recipients(ctx)
		if err == nil {
			err = embedded.CheckRecipient(list, name, key)
		}
		if err != nil {
			return err
		}
		return a.sayRecipients(ctx, s, name, "", "would let %s read %s", name)
	}
	if err := s.AddRecipient(ctx, name, key); err != nil {
		return err
	}
	if err := a.sayRecipients(ctx, s, name, "", "%s can read %s", name); err != nil {
		return err
	}
	a.ui.Note("next: commit %s, so that %s gets it", StoreFile, name)
	return nil
}

func (a *app) recipientsRemove(ctx context.Context, name string) error {
	op := "remove recipient " + name
	s, err := a.localStore(op)
	if err != nil {
		return err
	}
	list, err := s.Recipients(ctx)
	if err != nil {
		return err
	}
	found := false
	for _, r := range list {
		found = found || r.Name == name || r.Key == name
	}
	if !found {
		return fault.New(fault.NotFound, op, "there is no such recipient", "run envctl store recipients list")
	}
	if own, err := s.Self(ctx); err != nil {
		return err
	} else if i := indexOf(list, name); list[i].Key == own {
		return fault.New(fault.Refused, op, "it is your own key, and you could not read what you wrote", "let another recipient remove it")
	}
	if a.globals.dryRun {
		return a.sayRecipients(ctx, s, "", name, "would end %s's access to %s and re-key it", name)
	}
	if err := a.agree(ctx, op, "end "+name+"'s access and re-key the store?"); err != nil {
		return err
	}
	if err := s.RemoveRecipient(ctx, name); err != nil {
		return err
	}
	if err := a.sayRecipients(ctx, s, "", name, "%s can no longer read %s; re-keyed", name); err != nil {
		return err
	}
	a.ui.Note("next: commit %s, then rotate what %s knew: envctl list, envctl rotate KEY", StoreFile, name)
	return nil
}

func indexOf(list []embedded.Recipient, nameOrKey string) int {
	for i, r := range list {
		if r.Name == nameOrKey || r.Key == nameOrKey {
			return i
		}
	}
	return -1
}

// sayRecipients answers a change of the recipients.
func (a *app) sayRecipients(ctx context.Context, s *embedded.Store, added, removed, format, name string) error {
	if a.ui.JSON {
		doc, err := a.recipients(ctx, s)
		if err != nil {
			return err
		}
		doc.Added, doc.Removed = added, removed
		return a.ui.Document(doc)
	}
	a.ui.Print(format, name, StoreFile)
	if a.globals.dryRun {
		a.ui.Note("dry run: nothing was written")
	}
	return nil
}

type verifyDocument struct {
	Schema     string    `json:"schema"`
	File       string    `json:"file"`
	State      string    `json:"state"` // sound, first-use, accepted, or the kind of what is wrong
	Store      string    `json:"store"`
	Key        string    `json:"key"`
	Revision   int       `json:"revision"`
	Author     string    `json:"author"`
	At         time.Time `json:"at"`
	Seen       int       `json:"seen"` // the newest revision seen here before, 0 for none
	Recipients []string  `json:"recipients"`
	Paths      int       `json:"paths"`
	Versions   int       `json:"versions"`
	Values     int       `json:"values"`
	DryRun     bool      `json:"dry_run,omitempty"`
}

func (a *app) storeVerify(ctx context.Context, accept bool) error {
	s, err := a.localStore("verify store")
	if err != nil {
		return err
	}
	report, err := s.Verify(ctx)
	if err != nil && report.Store == "" {
		return err // not even readable: nothing to say about it, nothing to accept
	}
	state := "sound"
	switch {
	case err != nil:
		state = fault.KindOf(err).String()
	case report.FirstUse:
		state = "first-use"
	}
	wrong := err
	if accept && wrong != nil {
		a.ui.Note("envctl: %v", wrong)
		if !a.ui.JSON {
			a.showReport(report, state)
		}
		if !a.globals.dryRun {
			if err := a.agree(ctx, "accept store "+StoreFile, "trust the file as it is from now on?"); err != nil {
				return err
			}
			if report, err = s.Accept(ctx); err != nil {
				return err
			}
			state = "accepted"
		} else {
			a.ui.Note("dry run: nothing was accepted")
		}
		wrong = nil
	}
	if a.ui.JSON {
		doc := verifyDocument{
			Schema: "envctl.store-verify/v1", File: report.File, State: state, Store: report.Store, Key: report.Key,
			Revision: report.Revision.Number, Author: report.Revision.Author, At: report.Revision.Time, Seen: report.Seen,
			Recipients: []string{}, Paths: report.Paths, Versions: report.Versions, Values: report.Values, DryRun: accept && a.globals.dryRun,
		}
		for _, r := range report.Recipients {
			doc.Recipients = append(doc.Recipients, r.Name)
		}
		return errors.Join(a.ui.Document(doc), wrong)
	}
	switch {
	case state == "accepted":
		a.ui.Lead(ui.Caution, "accepted", " revision %d of %s", report.Revision.Number, StoreFile)
	case !accept || err == nil:
		a.showReport(report, state)
	}
	return wrong
}

// showReport prints what verify found, one fact a line.
func (a *app) showReport(r embedded.Report, state string) {
	names := make([]string, len(r.Recipients))
	for i, x := range r.Recipients {
		names[i] = x.Name
	}
	tone := ui.Bad
	switch state {
	case "sound":
		tone = ui.Good
	case "first-use":
		tone = ui.Caution
	}
	a.ui.Lead(tone, state, "  %s", StoreFile)
	a.ui.Print("  revision    %d of %s by %s", r.Revision.Number, r.Revision.Time.Format(time.RFC3339), dash(r.Revision.Author))
	seen := "nothing"
	if r.Seen > 0 {
		seen = fmt.Sprintf("revision %d", r.Seen)
	}
	a.ui.Print("  seen here   %s", seen)
	a.ui.Print("  recipients  %s", strings.Join(names, ", "))
	a.ui.Print("  holds       %d paths, %d versions, %d values", r.Paths, r.Versions, r.Values)
	a.ui.Print("  store, key  %s, %s", short(r.Store), short(r.Key))
}

func (a *app) storeRekey(ctx context.Context) error {
	op := "rekey store " + StoreFile
	s, err := a.localStore(op)
	if err != nil {
		return err
	}
	before, err := s.Verify(ctx)
	if err != nil {
		return err
	}
	after := before
	if !a.globals.dryRun {
		if err := a.agree(ctx, op, "make new keys? fingerprints change, values do not"); err != nil {
			return err
		}
		if err := s.Rekey(ctx); err != nil {
			return err
		}
		if after, err = s.Verify(ctx); err != nil {
			return err
		}
	}
	if a.ui.JSON {
		return a.ui.Document(struct {
			Schema   string `json:"schema"`
			File     string `json:"file"`
			From     string `json:"from_key"`
			To       string `json:"to_key"`
			Revision int    `json:"revision"`
			DryRun   bool   `json:"dry_run,omitempty"`
		}{"envctl.store-rekey/v1", after.File, before.Key, after.Key, after.Revision.Number, a.globals.dryRun})
	}
	if a.globals.dryRun {
		a.ui.Print("would re-key %s (revision %d → %d)", StoreFile, before.Revision.Number, before.Revision.Number+1)
		a.ui.Note("dry run: nothing was written")
		return nil
	}
	a.ui.Print("re-keyed %s (revision %d → %d, key %s → %s)", StoreFile, before.Revision.Number, after.Revision.Number, short(before.Key), short(after.Key))
	return nil
}

// storeMerge needs no project file: while git merges, that may be in conflict
// itself.
func (a *app) storeMerge(ctx context.Context, files []string, ours, theirs bool) error {
	op := "merge store"
	prefer := embedded.Neither
	switch {
	case ours && theirs:
		return fault.New(fault.Usage, op, "--ours and --theirs exclude each other", "choose one, or neither")
	case ours:
		prefer = embedded.Ours
	case theirs:
		prefer = embedded.Theirs
	}
	var sides [3][]byte
	for i, f := range files {
		var err error
		if sides[i], err = atomicfile.Read(a.abs(f), embedded.MaxFile); err != nil {
			return err
		}
	}
	dirs := a.dirs()
	u, err := config.LoadUser(dirs)
	if err != nil {
		return err
	}
	s := embedded.Open(a.embeddedConfig(a.WorkDir, dirs, u.Author))
	merged, err := s.Merge(ctx, sides[0], sides[1], sides[2], prefer)
	if err != nil {
		return err
	}
	into := a.abs(files[1])
	if !a.globals.dryRun {
		perm := fs.FileMode(0o600)
		if st, err := os.Stat(into); err == nil {
			perm = st.Mode().Perm()
		}
		if err := atomicfile.Write(into, merged, perm); err != nil {
			return err
		}
	}
	if a.ui.JSON {
		return a.ui.Document(struct {
			Schema string `json:"schema"`
			Into   string `json:"into"`
			Bytes  int    `json:"bytes"`
			DryRun bool   `json:"dry_run,omitempty"`
		}{"envctl.store-merge/v1", into, len(merged), a.globals.dryRun})
	}
	if a.globals.dryRun {
		a.ui.Note("dry run: the branches can be joined, nothing was written")
		return nil
	}
	a.ui.Note("joined both branches of the store")
	return nil
}
