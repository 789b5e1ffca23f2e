package playbooks

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"envctl/internal/config"
	"envctl/internal/fault"
)

// Propose returns the text of a project file that names what was found, and
// nothing else, and the project it describes.
func Propose(folder string, f Found, name, store string) ([]byte, *config.Project, error) {
	parse := func(text []byte) (*config.Project, error) {
		p, err := config.Parse(config.FileName, text)
		if err != nil {
			return nil, fault.Wrap(err, fault.Internal, "propose "+config.FileName, "write the file by hand, see docs/")
		}
		p.Root, p.File = folder, abs(folder, config.FileName)
		return p, nil
	}
	draft, err := parse(write(f, name, store, nil))
	if err != nil {
		return nil, nil, err
	}
	w := &World{Project: draft, User: &config.User{}}
	layers, guesses := w.AllLayers(), map[string]guess{}
	for _, c := range f.Components {
		var keys []string
		for _, n := range w.Needs(c.Name, layers) {
			keys = append(keys, n.Key)
		}
		if c.Template == "" {
			keys = append(keys, w.Declared(c.Name, layers[c.Name])...)
		}
		guesses[c.Name] = guessing(keys)
	}
	text := write(f, name, store, guesses)
	p, err := parse(text)
	return text, p, err
}

// guess is what envctl can make and rotate of a component's variables.
type guess struct {
	generate map[string]string
	rotate   []string // lines
}

// guessing judges by names that leave no doubt about what makes the value.
func guessing(keys []string) guess {
	var (
		jwtNames      = regexp.MustCompile(`^(JWT_)?SECRET_KEY$|^JWT_SECRET$|^JWT_SIGNING_KEY$`)
		ringNames     = regexp.MustCompile(`(^|_)(ENCRYPTION|FERNET)_KEYS$`)
		fernetNames   = regexp.MustCompile(`(^|_)FERNET_KEY$`)
		passwordNames = regexp.MustCompile(`^(MARIADB|MYSQL|POSTGRES|REDIS)_PASSWORD$`)
	)
	slices.Sort(keys)
	g := guess{generate: map[string]string{}}
	jwt, ring := false, false
	for _, k := range slices.Compact(keys) {
		switch {
		case jwtNames.MatchString(k) && !jwt:
			jwt = true
			if slices.Contains(keys, k+"_PREVIOUS") {
				g.rotate = append(g.rotate, fmt.Sprintf("jwt: {variable: %s, previous: %s_PREVIOUS, overlap: 24h}", k, k))
			} else {
				g.rotate = append(g.rotate, fmt.Sprintf("jwt: {variable: %s}%s# with previous: VARIABLE and overlap: 24h, sessions survive a rotation", k, pad("      jwt: {variable: "+k+"}")))
			}
		case jwtNames.MatchString(k):
			g.generate[k] = "jwt"
		case ringNames.MatchString(k) && !ring:
			ring = true
			g.rotate = append(g.rotate, fmt.Sprintf("fernet: {variable: %s, ring: true, keep: 2}", k))
		case ringNames.MatchString(k), fernetNames.MatchString(k):
			g.generate[k] = "fernet"
		case passwordNames.MatchString(k):
			g.generate[k] = "password"
		case k == "SESSION_SECRET":
			g.generate[k] = "hex"
		}
	}
	return g
}

// column is where comments stand.
const column = 34

func pad(line string) string { return strings.Repeat(" ", max(1, column-len(line))) }

// write lays out a project file.
func write(f Found, name, store string, guesses map[string]guess) []byte {
	var b strings.Builder
	line := func(text, comment string) {
		b.WriteString(text)
		if comment != "" {
			b.WriteString(pad(text) + "# " + comment)
		}
		b.WriteByte('\n')
	}
	line(config.SchemaLine, "")
	line("# Addresses of servers and credentials never stand here: they come from your", "")
	line("# environment or ~/.config/envctl/config.yaml.", "")
	line("version: 1", "")
	line("project: "+scalar(name), "the first segment of every store path")
	if store == config.StoreVault {
		line("store: vault", "Vault or OpenBao, KV v2; local: an encrypted file in the repository")
	} else {
		line("store: local", "the encrypted file .envctl/store.age; vault: Vault or OpenBao")
	}
	if f.Mount != "" {
		line("vault: {mount: "+scalar(f.Mount)+"}", "")
	}
	line("default_environment: local", "of reads that name none; writes always name theirs")
	line("environments:", "envctl env create NAME adds one")
	for _, e := range f.Environments {
		comment := ""
		if config.IsProduction(e) {
			comment = "always protected: writes ask for its name"
		}
		line("  "+e+": {}", comment)
	}
	line("components:", "the units that own secrets")
	composed := false
	for _, c := range f.Components {
		g := guesses[c.Name]
		if isEmpty(c) && len(g.generate)+len(g.rotate) == 0 {
			line("  "+c.Name+": {}", "")
			continue
		}
		line("  "+c.Name+":", "")
		field := func(key, value string) {
			if value != "" {
				line("    "+key+": "+value, "")
			}
		}
		field("template", scalar(c.Template))
		field("policy", scalar(c.Policy))
		field("code", scalar(c.Code))
		field("example", scalar(c.Example))
		field("dotenv", sequence(c.Dotenv))
		field("compose", scalar(c.Compose))
		field("services", sequence(c.Services))
		composed = composed || c.Compose != ""
		if len(g.generate) > 0 {
			var pairs []string
			for _, k := range sortedKeys(g.generate) {
				pairs = append(pairs, k+": "+g.generate[k])
			}
			field("generate", "{"+strings.Join(pairs, ", ")+"}")
		}
		if len(g.rotate) > 0 {
			line("    rotate:", "")
			for _, r := range g.rotate {
				line("      "+r, "")
			}
		}
	}
	if composed {
		line("# deploy: {kind: compose}", "lets rotate and deploy recreate the services and read their processes")
	}
	return []byte(b.String())
}

func isEmpty(c FoundComponent) bool {
	return c.Template+c.Policy+c.Code+c.Example+c.Compose == "" && len(c.Dotenv)+len(c.Services) == 0
}

// scalar writes text as YAML, quoted where a plain one could mean something else.
func scalar(s string) string {
	plain := regexp.MustCompile(`^[A-Za-z./_][A-Za-z0-9./_-]*$`)
	if s == "" || plain.MatchString(s) && !slices.Contains([]string{"false", "n", "no", "null", "off", "on", "true", "y", "yes"}, strings.ToLower(s)) {
		return s
	}
	quoted, err := json.Marshal(s)
	if err != nil {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	return string(quoted)
}

func sequence(list []string) string {
	if len(list) == 0 {
		return ""
	}
	items := make([]string, len(list))
	for i, s := range list {
		items[i] = scalar(s)
	}
	return "[" + strings.Join(items, ", ") + "]"
}
