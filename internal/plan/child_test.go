//go:build linux

package plan_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/plan"
)

// outlive is a deployment by a program that is still at work when its envctl dies.
func outlive(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
	if err := page.Intend(plan.Receipt{}); err != nil {
		return nil, err
	}
	script := exec.CommandContext(context.WithoutCancel(ctx), "sleep", "1000")
	script.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := script.Start(); err != nil {
		return nil, err
	}
	if err := plan.Started(ctx, script.Process.Pid); err != nil {
		return nil, err
	}
	fmt.Println(script.Process.Pid)
	time.Sleep(time.Minute)
	return nil, errors.New("nobody killed it")
}

// What a killed run had started is waited for, and named, before anything else
// works on the same target.
func TestProgramThatOutlivesItsRun(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"resume", "undo"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cmd := child(t, dir, "CHILD_STARTS=1")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			pid, numberErr := strconv.Atoi(strings.TrimSpace(line))
			if err != nil || numberErr != nil {
				t.Fatal(line, err)
			}
			defer func() { _ = syscall.Kill(pid, syscall.SIGKILL) }()
			_ = cmd.Process.Kill()
			_ = cmd.Wait()

			f := &fileWorld{dir: dir, killer: &killer{FS: plan.OS{}, at: -1}}
			e := f.engine()
			warned := make(chan string, 8)
			e.Observer = func(ev plan.Event) {
				if ev.Kind == plan.EventWarning {
					warned <- ev.Text
				}
			}
			all, err := e.List()
			if err != nil || len(all) != 1 {
				t.Fatal(all, err)
			}
			id := all[0].ID
			named := func(what string, err error, k fault.Kind) {
				t.Helper()
				if !fault.Is(err, k) || !strings.Contains(err.Error(), "process "+line[:len(line)-1]+",") || !strings.Contains(fault.HintOf(err), "kill -- -"+line[:len(line)-1]) {
					t.Errorf("%s: %v (%s)", what, err, fault.HintOf(err))
				}
			}
			for what, do := range map[string]func(context.Context) error{
				"resume": func(ctx context.Context) error { _, err := e.Resume(ctx, id, f.build); return err },
				"undo":   func(ctx context.Context) error { _, err := e.Undo(ctx, id, f.build); return err },
				"again":  func(ctx context.Context) error { _, err := e.Run(ctx, f.plan()); return err },
			} {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				named(what, do(ctx), fault.Unavailable)
				cancel()
				<-warned
			}
			_, err = e.Close(t.Context(), id)
			named("close", err, fault.Conflict)

			do, holds := e.Resume, (*world).done
			if verb == "undo" {
				do, holds = e.Undo, (*world).undone
			}
			done := make(chan error, 1)
			go func() {
				_, err := do(context.WithoutCancel(t.Context()), id, f.build)
				done <- err
			}()
			if text := <-warned; !strings.Contains(text, strconv.Itoa(pid)) || !strings.Contains(text, id) {
				t.Error(text)
			}
			select {
			case err := <-done:
				t.Fatal("it did not wait:", err)
			default:
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil || holds(f.load()) != nil {
				t.Error(err, holds(f.load()))
			}
			if text, err := os.ReadFile(dir + "/envctl/runs/" + id + ".jsonl"); err == nil && !strings.Contains(string(text), `"type":"child"`) {
				t.Error("the journal does not know it")
			}
		})
	}
}
