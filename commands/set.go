package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/playbooks"
	"envctl/providers"
)

type setOptions struct {
	keys       []string
	stdin      bool
	fromFile   string
	from       string
	generate   string
	allowEmpty bool
	deploy     bool
}

func (a *app) setCommand() *cli.Command {
	return &cli.Command{
		Name: "set", Usage: "Write one or more variables, never from the command line", ArgsUsage: "KEY…", Category: "values",
		Description: "Asks for each value without echo, or reads it from standard input, a file, a 1Password reference or a\ngenerator. One key leaves its siblings as they are; several keys are one check-and-set write.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "allow-empty", Usage: "accept an empty value"},
			&cli.BoolFlag{Name: "deploy", Usage: "deploy and verify afterwards"},
			&cli.StringFlag{Name: "from", Usage: "an op:// `REFERENCE`"},
			&cli.StringFlag{Name: "from-file", Usage: "read the value from `FILE`, every byte of it"},
			&cli.StringFlag{Name: "generate", Usage: "make the value: `TYPE` is " + generatorNames()},
			a.reportFlag(),
			&cli.BoolFlag{Name: "stdin", Usage: "read the value from standard input, less one final newline"},
		},
		Action: a.action(1, -1, func(ctx context.Context, c *cli.Context) error {
			return a.set(ctx, setOptions{
				keys: c.Args().Slice(), stdin: c.Bool("stdin"), fromFile: c.String("from-file"), from: c.String("from"),
				generate: c.String("generate"), allowEmpty: c.Bool("allow-empty"), deploy: c.Bool("deploy"),
			})
		}),
	}
}

func (a *app) set(ctx context.Context, o setOptions) error {
	for _, k := range o.keys {
		if err := a.variableArgument("set", k); err != nil {
			return err
		}
	}
	if n := count(o.stdin, o.fromFile != "", o.from != "", o.generate != ""); n > 1 {
		return fault.New(fault.Usage, "set", "--stdin, --from-file, --from and --generate exclude each other", "choose one")
	} else if n == 1 && len(o.keys) > 1 && o.generate == "" {
		return fault.New(fault.Usage, "set", "one input cannot give several keys their values", "run envctl import FILE for several at once")
	}
	w, t, err := a.writeTarget(ctx, o.keys...)
	if err != nil {
		return err
	}
	values := providers.Patch{}
	for _, k := range o.keys {
		v, err := a.value(ctx, w, o, k)
		if err != nil {
			return err
		}
		if v.Len() == 0 && !o.allowEmpty {
			return fault.New(fault.Refused, "set "+k, "the value is empty", "add --allow-empty if it is meant, or run envctl unset "+k)
		}
		values[k] = v
	}
	p, err := w.Set(ctx, t, "set", values, o.deploy)
	if err != nil {
		return err
	}
	return a.perform(ctx, w, t.Environment, p)
}

// value obtains one value from where the options say.
func (a *app) value(ctx context.Context, w *playbooks.World, o setOptions, key string) (secret.Value, error) {
	switch {
	case o.generate != "":
		g, ok := secret.FindGenerator(o.generate)
		if !ok {
			return secret.Value{}, fault.Newf(fault.Usage, "generate "+o.generate, "types: "+generatorNames(), "no such type")
		}
		if a.globals.dryRun {
			return secret.New("not generated in a dry run"), nil
		}
		return g.New(a.Rand)
	case o.from != "":
		if !strings.HasPrefix(o.from, "op://") {
			return secret.Value{}, fault.Newf(fault.Usage, "set "+key, "write op://vault/item/field", "--from takes a 1Password reference")
		}
		got, err := w.Resolve(ctx, []string{o.from})
		return got[o.from], err
	case o.fromFile != "":
		return unless(ctx, "read "+o.fromFile, func() (secret.Value, error) { return readValue(a.abs(o.fromFile), "read "+o.fromFile) })
	case o.stdin:
		return unless(ctx, "read standard input", func() (secret.Value, error) { return fromStdin(a.ui.In) })
	}
	if !a.ui.CanAsk() {
		return secret.Value{}, fault.New(fault.Usage, "set "+key, "there is no terminal to type the value on", fmt.Sprintf("pipe it: … | envctl set %s --stdin, or use --from-file or --generate", key))
	}
	return a.ui.Ask().Hidden(ctx, key)
}

// inputLimit is far above what a variable can hold; playbooks.CheckValue says so in words.
const inputLimit = 4 << 20

// unless runs read, which can wait for ever on a pipe or a terminal, and gives it
// up when ctx ends.
func unless[T any](ctx context.Context, op string, read func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		v, err := read()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return none, fault.New(fault.Unavailable, op, "nothing came in time, nothing was written", "give it longer with --timeout")
		}
		return none, fault.New(fault.Interrupted, "", "interrupted, nothing was written", "")
	}
}

func fromStdin(in io.Reader) (secret.Value, error) {
	data, err := io.ReadAll(io.LimitReader(in, inputLimit))
	if err != nil {
		return secret.Value{}, fault.Wrap(err, fault.Unavailable, "read standard input", "")
	}
	s := string(data)
	if cut, ok := strings.CutSuffix(s, "\n"); ok {
		s = strings.TrimSuffix(cut, "\r")
	}
	return secret.New(s), nil
}

func readValue(path, op string) (secret.Value, error) {
	data, err := readFile(path, op)
	return secret.New(string(data)), err
}

// readFile reads a file that the operator named. Usage when it cannot be read.
func readFile(path, op string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Newf(fault.Usage, op, "name a readable file", "%s", plainCause(err))
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, inputLimit))
	if err != nil {
		return nil, fault.Newf(fault.Usage, op, "name a readable file", "%s", plainCause(err))
	}
	return data, nil
}

func count(flags ...bool) int {
	n := 0
	for _, f := range flags {
		if f {
			n++
		}
	}
	return n
}

func generatorNames() string {
	var names []string
	for _, g := range secret.Generators() {
		names = append(names, g.Name)
	}
	return strings.Join(names, ", ")
}
