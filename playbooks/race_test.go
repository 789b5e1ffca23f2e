package playbooks_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/plan/plantest"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/playbooks"
	"envctl/providers"
	"envctl/providers/embedded"
)

// together starts n functions at one moment and returns their errors.
func together(n int, f func(i int) error) []error {
	errs := make([]error, n)
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-start
			errs[i] = f(i)
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
	return errs
}

// Fifty operators on fifty machines rotate one key at once: one wins, the others
// are told to plan anew and have written nothing.
func TestFiftyRotatorsOfOneKey(t *testing.T) {
	t.Parallel()
	const operators = 50
	for name, c := range map[string]struct {
		rounds int
		open   func(t *testing.T, l *lab) func(author string) providers.Store
	}{
		"memory": {10, func(_ *testing.T, l *lab) func(string) providers.Store {
			return func(string) providers.Store { return l.store }
		}},
		"embedded": {1, embeddedStores},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := testLab(t)
			open := c.open(t, l)
			ctx := context.Background()
			first := open("first")
			_, err := first.Write(ctx, l.path("staging"), providers.Absent, providers.Patch{"SECRET_KEY": secret.New("old"), "PLAIN": secret.New("sibling")})
			must(t, err)
			for round := range c.rounds {
				plans := make([]*plan.Plan, operators)
				engines := make([]*plan.Engine, operators)
				worlds := make([]*playbooks.World, operators)
				for i := range operators {
					w := l.on(l.Project)
					s := open(fmt.Sprint("operator", i))
					w.Rand = &counter{seed: byte(i), n: uint32(round)}
					w.Store = func(config.Environment) (providers.Store, error) { return s, nil }
					worlds[i] = w
					engines[i] = &plan.Engine{Dir: filepath.Join(t.TempDir(), fmt.Sprint(i)), Who: fmt.Sprint("operator", i), Root: l.Project.Root, Now: l.clock.now, Rand: &counter{seed: byte(i)}, FS: &plantest.Disk{}}
				}
				before, err := first.Read(ctx, l.path("staging"), providers.Latest)
				must(t, err)
				for i, w := range worlds { // all plan before any writes
					plans[i], err = w.Rotate(ctx, l.target("staging"), l.rotation("jwt"))
					must(t, err)
				}
				errs := together(operators, func(i int) error {
					_, err := engines[i].Run(ctx, plans[i])
					return err
				})
				won := 0
				for i, err := range errs {
					if err == nil {
						won++
						continue
					}
					all, lerr := engines[i].List()
					must(t, lerr)
					if len(all) == 0 && strings.Contains(err.Error(), "is working") { // met at the lock: nothing was begun
						wantKind(t, err, fault.Conflict, "wait for it")
						continue
					}
					wantKind(t, err, fault.Conflict, "envctl rotate jwt --env staging", "again")
					if len(all) != 1 || all[0].State != plan.Undone {
						t.Fatalf("a loser's run: %+v", all)
					}
				}
				if won != 1 {
					t.Fatalf("round %d: %d winners: %v", round, won, errors.Join(errs...))
				}
				after, err := first.Read(ctx, l.path("staging"), providers.Latest)
				must(t, err)
				if after.Version != before.Version+1 || !after.Values["SECRET_KEY_PREVIOUS"].Equal(before.Values["SECRET_KEY"]) || after.Values["PLAIN"].Reveal() != "sibling" {
					t.Fatalf("round %d: version %d after %d", round, after.Version, before.Version)
				}
				if !l.box("staging").env["SECRET_KEY"].Equal(after.Values["SECRET_KEY"]) {
					t.Fatal("the container holds another value than the store")
				}
				p, err := worlds[0].Evidence(ctx, l.target("staging"))
				must(t, err)
				if p.Kind != "process" {
					t.Fatal(p)
				}
			}
		})
	}
}

// embeddedStores makes one store file and opens it for each operator anew.
func embeddedStores(t *testing.T, l *lab) func(string) providers.Store {
	t.Helper()
	dir := t.TempDir()
	c := embedded.Config{
		File: filepath.Join(dir, "store.age"), Identity: filepath.Join(dir, "identity.txt"), PinDir: filepath.Join(dir, "pins"), Now: l.clock.now,
		Author: "first",
	}
	_, err := embedded.GenerateIdentity(context.Background(), c.Identity, secret.Value{})
	must(t, err)
	_, err = embedded.Create(context.Background(), c)
	must(t, err)
	return func(author string) providers.Store {
		mine := c
		mine.Author = author
		return embedded.Open(mine)
	}
}

// Single keys are written without a precondition, and nothing is lost.
func TestOperatorsOfDistinctKeys(t *testing.T) {
	t.Parallel()
	l := started(t, "bare")
	plans := make([]*plan.Plan, 20)
	for i := range plans {
		var err error
		plans[i], err = l.Set(context.Background(), l.target("bare"), "set", providers.Patch{fmt.Sprint("KEY", i): secret.New(fmt.Sprint("v", i))}, false)
		must(t, err)
	}
	results, disks := make([]plan.Result, len(plans)), make([]plantest.Disk, len(plans))
	for _, err := range together(len(plans), func(i int) (err error) {
		eng := &plan.Engine{Dir: filepath.Join(l.Project.Root, fmt.Sprint("s", i)), Now: l.clock.now, Rand: &counter{seed: byte(i)}, FS: &disks[i]}
		results[i], err = eng.Run(context.Background(), plans[i])
		return err
	}) {
		must(t, err)
	}
	v := l.values("bare")
	between := 0
	for i := range plans {
		if v[fmt.Sprint("KEY", i)] != fmt.Sprint("v", i) {
			t.Fatal("lost", i)
		}
		if receipt(results[i], "write")["between"] != "" {
			between++
		}
	}
	if between != len(plans)-1 {
		t.Fatalf("%d of %d were told who came between", between, len(plans)-1)
	}
	// Each takes back its own and nothing else.
	for i := range plans {
		eng := &plan.Engine{Dir: filepath.Join(l.Project.Root, fmt.Sprint("s", i)), Now: l.clock.now, Rand: &counter{}, FS: &disks[i]}
		if i < 10 { // the store keeps ten versions: those whose base is gone are refused
			continue
		}
		_, err := eng.Undo(context.Background(), results[i].Record.ID, l.rebuild)
		if err != nil && !fault.Is(err, fault.Partial) {
			t.Fatal(err)
		}
		_, still := l.values("bare")[fmt.Sprint("KEY", i)]
		if still != (err != nil) {
			t.Fatalf("KEY%d is there: %v, and undo said: %v", i, still, err)
		}
	}
	if l.values("bare")["SECRET_KEY"] != "old" || l.values("bare")["KEY0"] != "v0" {
		t.Fatal("a neighbour was changed")
	}
}

func TestUndoAmongOthers(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	t.Run("the key was changed since", func(t *testing.T) {
		t.Parallel()
		l := started(t, "bare")
		res, err := l.set("bare", false, "TOKEN", "mine")
		must(t, err)
		l.write("bare", "TOKEN", "theirs")
		_, err = l.undo(res.Record.ID)
		wantKind(t, err, fault.Partial, "TOKEN changed again since", "stays as it is")
		if l.values("bare")["TOKEN"] != "theirs" || l.version("bare") != 3 {
			t.Fatal(l.values("bare"))
		}
	})
	t.Run("another key was changed since", func(t *testing.T) {
		t.Parallel()
		l := started(t, "bare")
		res, err := l.set("bare", false, "TOKEN", "mine")
		must(t, err)
		l.write("bare", "PLAIN", "theirs")
		_, err = l.undo(res.Record.ID)
		must(t, err)
		same(t, "the store", l.values("bare"), map[string]string{"SECRET_KEY": "old", "TOKEN": "t0", "PLAIN": "theirs"})
	})
	t.Run("the same key was changed between plan and write", func(t *testing.T) {
		t.Parallel()
		l := started(t, "bare")
		once := false
		l.store.before = func(naming.Path) {
			if !once {
				once = true
				l.write("bare", "TOKEN", "theirs")
			}
		}
		res, err := l.set("bare", false, "TOKEN", "mine")
		must(t, err)
		if receipt(res, "write")["between"] != "2..2" {
			t.Fatal(receipt(res, "write"))
		}
		_, err = l.undo(res.Record.ID)
		must(t, err)
		if l.values("bare")["TOKEN"] != "theirs" {
			t.Fatal("undo lost what came between: ", l.values("bare"))
		}
	})
	t.Run("someone writes while it is undone", func(t *testing.T) {
		t.Parallel()
		l := started(t, "bare")
		res, err := l.set("bare", false, "TOKEN", "mine", "PLAIN", "mine")
		must(t, err)
		n := 0
		l.store.before = func(naming.Path) {
			if n++; n < 3 {
				l.write("bare", "OTHER", fmt.Sprint(n))
			}
		}
		_, err = l.undo(res.Record.ID)
		must(t, err)
		same(t, "the store", l.values("bare"), map[string]string{"SECRET_KEY": "old", "TOKEN": "t0", "PLAIN": "sibling", "OTHER": "2"})
	})
	t.Run("the write made the path, which can be made again", func(t *testing.T) {
		t.Parallel()
		l := testLab(t)
		res, err := l.set("bare", false, "TOKEN", "mine", "PLAIN", "mine")
		must(t, err)
		_, err = l.undo(res.Record.ID)
		must(t, err)
		if v := l.values("bare"); len(v) != 0 {
			t.Fatal(v)
		}
		_, err = l.set("bare", false, "TOKEN", "again")
		must(t, err)
		same(t, "the store", l.values("bare"), map[string]string{"TOKEN": "again"})
	})
	t.Run("the write made the path, and others wrote there since", func(t *testing.T) {
		t.Parallel()
		l := testLab(t)
		res, err := l.set("bare", false, "TOKEN", "mine")
		must(t, err)
		l.write("bare", "PLAIN", "theirs")
		_, err = l.undo(res.Record.ID)
		must(t, err)
		same(t, "the store", l.values("bare"), map[string]string{"PLAIN": "theirs"})
	})
	t.Run("the path was purged and made again", func(t *testing.T) {
		t.Parallel()
		l := started(t, "bare")
		res, err := l.set("bare", false, "TOKEN", "mine")
		must(t, err)
		must(t, l.store.Purge(ctx, l.path("bare")))
		for range 3 {
			l.write("bare", "SECRET_KEY", "theirs", "TOKEN", "mine")
		}
		_, err = l.undo(res.Record.ID)
		wantKind(t, err, fault.Partial, "made again")
		same(t, "the store", l.values("bare"), map[string]string{"SECRET_KEY": "theirs", "TOKEN": "mine"})
	})
	t.Run("a recipe that is gone, or no longer trusted", func(t *testing.T) {
		t.Parallel()
		l := started(t, "bare")
		res, err := l.rotate("bare", "jwt")
		must(t, err)
		p, err := config.Parse(config.FileName, []byte(strings.Replace(projectFile, "jwt: {variable", "other: {reencrypt: ./x, variable", 1)))
		must(t, err)
		p.Root, p.File = l.Project.Root, l.Project.File
		l.World = l.on(p)
		l.Trusted = false
		_, err = l.undo(res.Record.ID)
		must(t, err)
		if l.values("bare")["SECRET_KEY"] != "old" {
			t.Fatal(l.values("bare"))
		}
	})
	t.Run("an unknown outcome", func(t *testing.T) {
		t.Parallel()
		l := started(t, "bare")
		once := false
		l.store.lose = func(naming.Path, providers.Version) error {
			if once {
				return nil
			}
			once = true
			return fault.New(fault.Unknown, "write", "the answer was lost, and the store cannot be asked", "")
		}
		_, err := l.rotate("bare", "jwt")
		wantKind(t, err, fault.Unknown, "undone")
		if l.values("bare")["SECRET_KEY"] != "old" || len(l.values("bare")) != 3 {
			t.Fatal(l.values("bare"))
		}
	})
}

// Restored or refused, never wrong.
func TestRollbackAfterEverything(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	rollback := func(l *lab, to providers.Version) (plan.Result, error) {
		p, err := l.Rollback(ctx, l.target("bare"), to)
		if err != nil {
			return plan.Result{}, err
		}
		return l.eng.Run(ctx, p)
	}
	old := map[string]string{"SECRET_KEY": "old", "TOKEN": "t0", "PLAIN": "sibling"}
	t.Run("after twelve versions", func(t *testing.T) {
		t.Parallel()
		l := started(t, "bare")
		for i := range 11 {
			l.write("bare", "SECRET_KEY", fmt.Sprint(i), fmt.Sprint("NEW", i), "x")
		}
		_, err := rollback(l, 1)
		wantKind(t, err, fault.NotFound)
		res, err := rollback(l, 3)
		must(t, err)
		if v := l.values("bare"); v["SECRET_KEY"] != "1" || v["NEW1"] != "x" || v["NEW2"] != "" || l.version("bare") != 13 {
			t.Fatal(v)
		}
		_, err = l.undo(res.Record.ID) // the write pushed version 3 out
		must(t, err)
		if v := l.values("bare"); v["SECRET_KEY"] != "10" || v["NEW10"] != "x" || v["NEW2"] != "x" {
			t.Fatal(v)
		}
	})
	t.Run("after a delete, and back", func(t *testing.T) {
		t.Parallel()
		l := started(t, "bare")
		l.write("bare", "SECRET_KEY", "new")
		must(t, l.store.Delete(ctx, l.path("bare")))
		res, err := rollback(l, 1)
		must(t, err)
		same(t, "the store", l.values("bare"), old)
		_, err = l.undo(res.Record.ID)
		must(t, err)
		_, err = l.store.Read(ctx, l.path("bare"), providers.Latest)
		wantKind(t, err, fault.Deleted)
	})
	t.Run("after a destroy", func(t *testing.T) {
		t.Parallel()
		l := started(t, "bare")
		l.write("bare", "SECRET_KEY", "new")
		must(t, l.store.Destroy(ctx, l.path("bare"), 2))
		_, err := rollback(l, 1)
		must(t, err)
		same(t, "the store", l.values("bare"), old)
		_, err = rollback(l, 2)
		wantKind(t, err, fault.Destroyed)
	})
	t.Run("after a purge", func(t *testing.T) {
		t.Parallel()
		l := started(t, "bare")
		must(t, l.store.Purge(ctx, l.path("bare")))
		_, err := rollback(l, 1)
		wantKind(t, err, fault.NotFound)
	})
	t.Run("purged and made again between plan and write", func(t *testing.T) {
		t.Parallel()
		l := started(t, "bare")
		l.write("bare", "SECRET_KEY", "new")
		p, err := l.Rollback(ctx, l.target("bare"), 1)
		must(t, err)
		must(t, l.store.Purge(ctx, l.path("bare")))
		l.write("bare", "SECRET_KEY", "theirs")
		l.write("bare", "STRANGE", "theirs")
		_, err = l.eng.Run(ctx, p)
		if err == nil {
			t.Fatal("success on a path that is another one now: ", l.values("bare"))
		}
		same(t, "the store", l.values("bare"), map[string]string{"SECRET_KEY": "theirs", "STRANGE": "theirs"})
	})
	t.Run("a deleted path says how to bring it back", func(t *testing.T) {
		t.Parallel()
		l := started(t, "bare")
		l.write("bare", "SECRET_KEY", "new")
		must(t, l.store.Delete(ctx, l.path("bare")))
		_, err := l.set("bare", false, "TOKEN", "x")
		wantKind(t, err, fault.Deleted, "envctl restore --env bare --component app")
	})
}
