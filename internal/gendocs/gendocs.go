// Command gendocs derives docs/commands, docs/man, the help and the project
// file's JSON Schema from the commands and the configuration's types.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"

	"github.com/urfave/cli/v2"

	"envctl/commands"
	"envctl/internal/config"
	"envctl/internal/ui"
)

func main() {
	for name, data := range generate() {
		file := filepath.Join("docs", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			panic(err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			panic(err)
		}
	}
}

// generate returns every generated file by its name below docs/.
func generate() map[string][]byte {
	tree := commands.Tree()
	out := map[string][]byte{"envctl.schema.json": schema()}
	var index bytes.Buffer
	index.WriteString("# Commands\n\nGenerated from the commands themselves; `envctl COMMAND --help` shows the same.\n\n| command | does |\n| --- | --- |\n")
	var walk func(prefix string, level []*cli.Command)
	walk = func(prefix string, level []*cli.Command) {
		for _, c := range level {
			if c.Hidden || c.Name == "help" {
				continue
			}
			full := prefix + " " + c.Name
			file := strings.ReplaceAll(full, " ", "_") + ".md"
			fmt.Fprintf(&index, "| [`%s`](%s) | %s |\n", full, file, c.Usage)
			out["commands/"+file] = markdown(full, c)
			out["man/"+strings.ReplaceAll(full, " ", "-")+".1"] = man(full, c)
			walk(full, c.Subcommands)
		}
	}
	walk("envctl", tree.Commands)
	index.WriteString("\n## Flags of every command\n\n" + flags(tree.Flags))
	out["commands/README.md"] = index.Bytes()
	out["man/envctl.1"] = manRoot(tree)
	out["../commands/help.txt"] = help()
	return out
}

// help returns what envctl --help shows, which the program embeds.
func help() []byte {
	tree := commands.Tree()
	tree.Setup()
	var b bytes.Buffer
	cli.HelpPrinterCustom(&b, helpTemplate, tree, nil)
	return []byte(ui.Fold(b.String(), helpWidth))
}

// helpWidth is a terminal's that nobody has made wider.
const helpWidth = 80

const helpTemplate = `{{.Name}} - {{.Usage}}

usage: envctl [flags] COMMAND [arguments]
{{range .VisibleCategories}}{{if .Name}}
{{.Name}}{{end}}
{{range .VisibleCommands}}  {{join .Names ", " | printf "%-14s"}} {{.Usage}}
{{end}}{{end}}
flags of every command (anywhere; --x as ENVCTL_X where it is no consent)
{{range .VisibleFlags}}  {{.}}
{{end}}
exit: 0 done · 1 the answer is no · 2 usage or refused · 3 file invalid
      4 not permitted · 5 not found · 6 conflict · 7 unavailable
      8 stopped part-way · 130 interrupted

start: envctl demo   or, in a project:   envctl init
`

func usageLine(full string, c *cli.Command) string {
	line := full
	if len(c.Subcommands) > 0 {
		line += " COMMAND"
	}
	if len(c.Flags) > 0 {
		line += " [flags]"
	}
	if c.ArgsUsage != "" {
		line += " " + c.ArgsUsage
	}
	return line
}

func markdown(full string, c *cli.Command) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n\n%s.\n\n```\n%s\n```\n", full, c.Usage, usageLine(full, c))
	if c.Description != "" {
		fmt.Fprintf(&b, "\n```text\n%s\n```\n", c.Description)
	}
	if len(c.Subcommands) > 0 {
		b.WriteString("\n| command | does |\n| --- | --- |\n")
		for _, s := range c.Subcommands {
			if !s.Hidden {
				fmt.Fprintf(&b, "| [`%s %s`](%s_%s.md) | %s |\n", full, s.Name, strings.ReplaceAll(full, " ", "_"), s.Name, s.Usage)
			}
		}
	}
	if len(c.Flags) > 0 {
		b.WriteString("\n## Flags\n\n" + flags(c.Flags))
	}
	b.WriteString("\nThe flags of every command are in [README.md](README.md), the exit codes in [../exit-codes.md](../exit-codes.md).\n")
	return b.Bytes()
}

func flags(all []cli.Flag) string {
	var b strings.Builder
	b.WriteString("| flag | means |\n| --- | --- |\n")
	for _, f := range all {
		d, ok := f.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		var names []string
		placeholder, usage := unquote(d.GetUsage())
		for _, n := range f.Names() {
			dash := "--"
			if len(n) == 1 {
				dash = "-"
			}
			names = append(names, "`"+dash+n+"`")
		}
		if d.TakesValue() && placeholder != "" {
			names[0] = "`--" + f.Names()[0] + " " + placeholder + "`"
		}
		fmt.Fprintf(&b, "| %s | %s |\n", strings.Join(names, ", "), strings.ReplaceAll(usage, "|", "\\|"))
	}
	return b.String()
}

// unquote takes the placeholder out of a flag's usage, as the library does.
func unquote(usage string) (placeholder, text string) {
	before, rest, ok := strings.Cut(usage, "`")
	if !ok {
		return "", usage
	}
	name, after, _ := strings.Cut(rest, "`")
	return name, before + name + after
}

func man(full string, c *cli.Command) []byte {
	var b bytes.Buffer
	title := strings.ToUpper(strings.ReplaceAll(full, " ", "-"))
	fmt.Fprintf(&b, ".TH %s 1\n.SH NAME\n%s \\- %s\n.SH SYNOPSIS\n.nf\n%s\n.fi\n", title, roff(strings.ReplaceAll(full, " ", "-")), roff(c.Usage), roff(usageLine(full, c)))
	if c.Description != "" {
		fmt.Fprintf(&b, ".SH DESCRIPTION\n.nf\n%s\n.fi\n", roff(c.Description))
	}
	manFlags(&b, c.Flags)
	b.WriteString(".SH EXIT STATUS\n" + exits)
	return b.Bytes()
}

func manRoot(tree *cli.App) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, ".TH ENVCTL 1\n.SH NAME\nenvctl \\- %s\n.SH SYNOPSIS\n.nf\nenvctl [flags] COMMAND [arguments]\n.fi\n.SH COMMANDS\n", roff(tree.Usage))
	for _, c := range tree.Commands {
		if !c.Hidden {
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(c.Name), roff(c.Usage))
		}
	}
	manFlags(&b, tree.Flags)
	b.WriteString(".SH EXIT STATUS\n" + exits)
	return b.Bytes()
}

const exits = "0 done; 1 the answer is no; 2 usage, or refused by a rule; 3 a file is invalid; 4 not permitted; 5 not found; 6 conflict; 7 unavailable; 8 stopped part\\-way; 130 interrupted before anything was written.\n"

func manFlags(b *bytes.Buffer, all []cli.Flag) {
	if len(all) == 0 {
		return
	}
	b.WriteString(".SH OPTIONS\n")
	for _, f := range all {
		d, ok := f.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		placeholder, usage := unquote(d.GetUsage())
		name := "--" + f.Names()[0]
		if d.TakesValue() && placeholder != "" {
			name += " " + placeholder
		}
		fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(name), roff(usage))
	}
}

// roff escapes text for a manual page.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}

// schema returns the JSON Schema of the project file.
func schema() []byte {
	doc := object(reflect.TypeFor[config.Project]())
	doc["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	doc["title"] = config.FileName
	doc["required"] = []string{"version", "project"}
	data, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		panic(err)
	}
	return append(data, '\n')
}

func object(t reflect.Type) map[string]any {
	props := map[string]any{}
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("yaml")
		if key == "" || key == "-" {
			continue
		}
		p := describe(f.Type)
		if text := f.Tag.Get("doc"); text != "" {
			p["description"] = text
		}
		if enum := f.Tag.Get("enum"); enum != "" {
			values := []any{}
			for _, v := range strings.Split(enum, ",") {
				if f.Type.Kind() == reflect.Int {
					var n int
					if _, err := fmt.Sscan(v, &n); err != nil {
						panic(err)
					}
					values = append(values, n)
					continue
				}
				values = append(values, v)
			}
			p["enum"] = values
		}
		props[key] = p
	}
	return map[string]any{"type": "object", "additionalProperties": false, "properties": props}
}

func describe(t reflect.Type) map[string]any {
	switch {
	case t == reflect.TypeFor[config.Duration]():
		return map[string]any{"type": "string", "pattern": "^[0-9.]+(d|[a-z0-9.]*[hms])$"}
	case t == reflect.TypeFor[config.Claim]():
		scalar := []any{"string", "number", "boolean"}
		return map[string]any{"type": append(scalar[:3:3], "array"), "items": map[string]any{"type": scalar}}
	case t.Kind() == reflect.Pointer:
		return describe(t.Elem())
	case t.Kind() == reflect.Struct:
		return object(t)
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct: // config.Map
		value, _ := t.Elem().FieldByName("Value")
		inner := describe(value.Type)
		return map[string]any{"type": "object", "additionalProperties": map[string]any{"anyOf": []any{inner, map[string]any{"type": "null"}}}}
	case t.Kind() == reflect.Slice:
		return map[string]any{"type": "array", "items": describe(t.Elem())}
	case t.Kind() == reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": describe(t.Elem())}
	case t.Kind() == reflect.Bool:
		return map[string]any{"type": "boolean"}
	case t.Kind() == reflect.Int:
		return map[string]any{"type": "integer"}
	}
	return map[string]any{"type": "string"}
}

// names returns the generated files' names, sorted.
func names(files map[string][]byte) []string {
	var out []string
	for n := range files {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}
