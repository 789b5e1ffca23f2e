package commands

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"envctl/internal/secret"
	"envctl/internal/ui"
	"envctl/providers"
)

func (a *app) logsCommand() *cli.Command {
	return &cli.Command{
		Name: "logs", Usage: "Show a service's output", ArgsUsage: "[SERVICE|COMPONENT]", Category: "playbooks",
		Description: "Secrets that an application prints are covered, as far as they are known: those of the store as it is now, and those\n" +
			"that the containers were given, by name (KEY, TOKEN, PASSWORD …), recipe or as a URL's password. In a step of\n" +
			"GitHub Actions the runner takes no command out of a line (::stop-commands::).",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on as it comes"},
			&cli.IntFlag{Name: "tail", Usage: "the last `N` lines", Value: 100},
		},
		Action: a.action(0, 1, func(ctx context.Context, c *cli.Context) error {
			return a.logs(ctx, c.Args().First(), providers.LogOptions{Tail: c.Int("tail"), Follow: c.Bool("follow")})
		}),
	}
}

func (a *app) logs(ctx context.Context, arg string, o providers.LogOptions) error {
	w, err := a.open()
	if err != nil {
		return err
	}
	e, err := a.readEnv(w)
	if err != nil {
		return err
	}
	t, err := a.componentArgument(ctx, w, e, arg)
	if err != nil {
		return err
	}
	service := ""
	if _, isComponent := w.Project.Components.Get(arg); arg != "" && !isComponent {
		service = arg
	}
	output, err := w.Output(ctx, t, service)
	if err != nil {
		return err
	}
	if output.StoreErr != nil {
		a.ui.Warn("only secrets that the containers were given are covered: %v", output.StoreErr)
	}
	restart, err := a.stopCommands()
	if err != nil {
		return err
	}
	defer restart()
	hide, out := cover(output.Secrets), &sync.Mutex{}
	show := func(ctx context.Context, c providers.Container, prefix string) error {
		lines := &lineWriter{w: &cleanWriter{w: a.ui.Out, clean: a.ui.OutTTY}, hide: hide, prefix: prefix, out: out}
		err := output.Write(ctx, c, o, lines)
		if flushErr := lines.flush(); err == nil {
			err = flushErr
		}
		return err
	}
	several := len(output.Containers) > 1
	if several && o.Follow { // all of them at the same time
		g, ctx := errgroup.WithContext(ctx)
		for _, c := range output.Containers {
			g.Go(func() error { return show(ctx, c, c.Name+" | ") })
		}
		return g.Wait()
	}
	for _, c := range output.Containers {
		if several {
			a.ui.Note("== %s", c.Name)
		}
		if err := show(ctx, c, ""); err != nil {
			return err
		}
	}
	return nil
}

// stopCommands keeps GitHub's runner from taking commands out of what is printed
// until restart: an application's line could hide a text in all of the job's log,
// set outputs or make up errors. Only who knows the token can end it earlier.
func (a *app) stopCommands() (restart func(), err error) {
	if !a.inGitHub() {
		return func() {}, nil
	}
	if f, ok := a.ui.Out.(*os.File); ok {
		if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
			return func() {}, nil // the runner does not read it
		}
	}
	token := make([]byte, 16)
	if _, err := io.ReadFull(a.Rand, token); err != nil {
		return nil, err
	}
	word := "envctl-" + hex.EncodeToString(token)
	if _, err := fmt.Fprintf(a.ui.Out, "::stop-commands::%s\n", word); err != nil {
		return nil, err
	}
	return func() { fmt.Fprintf(a.ui.Out, "::%s::\n", word) }, nil
}

// cover returns what replaces secrets in a line, the longest first; nil for none.
func cover(secrets []secret.Value) *strings.Replacer {
	var texts []string
	for _, v := range secrets {
		texts = append(texts, masks(v)...)
	}
	slices.SortFunc(texts, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, text := range texts {
		pairs = append(pairs, text, "[secret]")
	}
	if pairs == nil {
		return nil
	}
	return strings.NewReplacer(pairs...)
}

// longestLine is how much of a line is held back for a secret in it: docker itself
// takes lines apart at 16 KiB.
const longestLine = 1 << 20

// lineWriter passes whole lines on, without the secrets in them.
type lineWriter struct {
	w      io.Writer
	out    *sync.Mutex // of all that write to w
	prefix string
	hide   *strings.Replacer
	rest   []byte
}

func (l *lineWriter) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	end := bytes.LastIndexAny(l.rest, "\r\n") + 1
	if end == 0 && len(l.rest) > longestLine {
		end = len(l.rest)
	}
	if err := l.pass(end); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (l *lineWriter) pass(end int) error {
	if end == 0 {
		return nil
	}
	text := string(l.rest[:end])
	l.rest = append(l.rest[:0], l.rest[end:]...)
	if l.hide != nil {
		text = l.hide.Replace(text)
	}
	if l.prefix != "" {
		lines := strings.SplitAfter(text, "\n")
		text = l.prefix + strings.Join(lines[:len(lines)-1], l.prefix) + lines[len(lines)-1]
	}
	l.out.Lock()
	defer l.out.Unlock()
	_, err := io.WriteString(l.w, text)
	return err
}

// flush passes on a last line without an end, and ends it.
func (l *lineWriter) flush() error {
	if len(l.rest) == 0 {
		return nil
	}
	l.rest = append(l.rest, '\n')
	return l.pass(len(l.rest))
}

// cleanWriter escapes control characters on their way to a terminal.
type cleanWriter struct {
	w     io.Writer
	clean bool
	rest  []byte // the beginning of a character whose end has not come yet
}

func (c *cleanWriter) Write(p []byte) (int, error) {
	if !c.clean {
		return c.w.Write(p)
	}
	data := append(c.rest, p...)
	cut := len(data)
	for i := max(0, cut-utf8.UTFMax+1); i < cut; i++ {
		if utf8.RuneStart(data[i]) && !utf8.FullRune(data[i:]) {
			cut = i
		}
	}
	c.rest = bytes.Clone(data[cut:])
	_, err := fmt.Fprint(c.w, ui.Clean(strings.ReplaceAll(string(data[:cut]), "\r\n", "\n")))
	return len(p), err
}
