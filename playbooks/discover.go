package playbooks

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/layer"
	"envctl/internal/layer/python"
	"envctl/naming"
)

// Found is what a folder holds that a project file can name.
type Found struct {
	Project      string   // the project that the templates read, "" where none says
	Mount        string   // the engine that the templates read, "" for secret
	Environments []string // local, then those that file names speak of, sorted
	Components   []FoundComponent
	Unread       []error // layer files that cannot be read, and are named all the same
}

// FoundComponent is one component with the files found for it, slash-separated
// and relative to the folder.
type FoundComponent struct {
	Name string
	config.Component
}

const (
	discoverDepth   = 6
	discoverEntries = 50000
)

// skipped are folders that hold what others wrote.
var skipped = []string{"__pycache__", "build", "dist", "node_modules", "site-packages", "target", "testdata", "vendor", "venv"} //nolint:gochecknoglobals // a constant list

// generic are folder names that tell nothing about the component inside.
var generic = []string{ //nolint:gochecknoglobals // a constant list
	"agent", "compose", "config", "conf", "deploy", "deployment", "docker", "env", "infra", "infrastructure", "secrets", "template", "templates", "vault",
}

// spoken are the environments that a file name may speak of, as in
// compose.staging.yaml.
var spoken = []string{"ci", "development", "production", "qa", "staging", "test"} //nolint:gochecknoglobals // a constant list

// Discover looks for the files that declare a project's variables and run its
// services. It reads bounded files, follows no link out of the folder, and runs
// nothing.
func Discover(folder string) (Found, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return Found{}, fault.Wrap(err, fault.Unavailable, "look at "+folder, "")
	}
	defer root.Close()
	d := discovery{fs: root.FS(), environments: map[string]bool{}}
	if err := d.walk(); err != nil {
		return Found{}, fault.Wrap(err, fault.Unavailable, "look at "+folder, "check the folder's permissions")
	}
	d.fromTemplates()
	d.attach()
	f := Found{Project: mostCommon(d.projects), Mount: mostCommon(d.mounts), Components: d.components, Unread: d.unread}
	if f.Mount == "secret" || naming.CheckSegment("mount", f.Mount) != nil {
		f.Mount = ""
	}
	if naming.CheckSegment("project", f.Project) != nil {
		f.Project = ""
	}
	f.Environments = append([]string{"local"}, sortedKeys(d.environments)...)
	return f, nil
}

type discovery struct {
	fs                                                    fs.FS
	entries                                               int
	templates, policies, code, examples, dotenvs, compose []string
	environments                                          map[string]bool
	projects, mounts                                      []string
	components                                            []FoundComponent
	variables                                             map[string][]string // by component, what its template emits
	unread                                                []error
}

func (d *discovery) walk() error {
	return fs.WalkDir(d.fs, ".", func(p string, e fs.DirEntry, err error) error {
		if d.entries++; d.entries > discoverEntries {
			return fs.SkipAll
		}
		name := e.Name()
		switch {
		case err != nil && p != ".":
			return fs.SkipDir // a folder that cannot be read has nothing to find
		case err != nil:
			return err
		case e.IsDir():
			if p != "." && (strings.HasPrefix(name, ".") || slices.Contains(skipped, name) || strings.Count(p, "/") >= discoverDepth) {
				return fs.SkipDir
			}
			return nil
		}
		d.file(p, name)
		return nil
	})
}

func (d *discovery) file(p, name string) {
	stem, ext := strings.TrimSuffix(name, path.Ext(name)), path.Ext(name)
	lower := strings.ToLower(name)
	isYAML := ext == ".yaml" || ext == ".yml"
	switch {
	case ext == ".ctmpl" && (strings.Contains(lower, "secret") || strings.Contains(lower, "env")):
		d.templates = append(d.templates, p)
	case ext == ".hcl" && strings.Contains(lower, "policy"):
		d.policies = append(d.policies, p)
	case name == ".env.example" || name == ".env.sample" || name == ".env.template" || name == "env.example":
		d.examples = append(d.examples, p)
	case name == ".env":
		d.dotenvs = append(d.dotenvs, p)
	case strings.HasPrefix(name, ".env."):
		d.speaksOf(strings.TrimPrefix(name, ".env."))
	case isYAML && (stem == "compose" || stem == "docker-compose"):
		d.compose = append(d.compose, p)
	case isYAML && (strings.HasPrefix(stem, "compose.") || strings.HasPrefix(stem, "docker-compose.")):
		_, env, _ := strings.Cut(stem, ".")
		d.speaksOf(env)
	case name == "config.py" || name == "settings.py" || name == "conf.py":
		if src := d.read(p); strings.Contains(string(src), "BaseSettings") {
			d.code = append(d.code, p)
		}
	}
}

func (d *discovery) speaksOf(env string) {
	if slices.Contains(spoken, env) {
		d.environments[env] = true
	}
}

// read returns a file's bytes, nil for what cannot be read or is too large to
// be a layer.
func (d *discovery) read(p string) []byte {
	f, err := d.fs.Open(p)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }() // only read
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(f, layer.MaxSize+1))
	if err != nil || len(data) > layer.MaxSize {
		return nil
	}
	return data
}

// fromTemplates makes a component of every template's folder, and of every
// path that a template reads beside its own.
func (d *discovery) fromTemplates() {
	d.variables = map[string][]string{}
	read := map[string]bool{}
	for _, p := range d.templates {
		if slices.ContainsFunc(d.components, func(c FoundComponent) bool { return path.Dir(c.Template) == path.Dir(p) }) {
			continue // one template a folder
		}
		t, err := layer.ParseTemplate(p, d.read(p))
		var owners []string
		if err != nil {
			d.unread = append(d.unread, err)
		} else {
			for _, tp := range t.Paths {
				mount, project, component := pathParts(tp.Pattern)
				d.mounts, d.projects = append(d.mounts, mount), append(d.projects, project)
				if component != "" {
					owners = append(owners, component)
					read[component] = true
				}
			}
		}
		name := componentName(p)
		if slices.Sort(owners); len(slices.Compact(owners)) == 1 {
			name = owners[0]
		}
		if d.component(name) != nil {
			name = legal(path.Base(path.Dir(path.Dir(p))) + "-" + name)
		}
		if d.component(name) != nil {
			continue
		}
		c := FoundComponent{Name: name}
		c.Template = p
		for _, policy := range d.policies {
			if path.Dir(policy) == path.Dir(p) && c.Policy == "" {
				c.Policy = policy
			}
		}
		d.components = append(d.components, c)
		if t != nil {
			d.variables[name] = t.Names()
		}
	}
	for _, name := range sortedKeys(read) {
		if d.component(name) == nil {
			d.components = append(d.components, FoundComponent{Name: name})
		}
	}
	if len(d.components) == 0 {
		d.components = []FoundComponent{{Name: "app"}}
		if len(d.policies) == 1 {
			d.components[0].Policy = d.policies[0]
		}
	}
}

// pathParts reads mount, project and component of a template's path pattern; ""
// for what only rendering can tell.
func pathParts(pattern string) (mount, project, component string) {
	parts := strings.Split(pattern, "/")
	if len(parts) > 1 && parts[1] == "data" {
		parts = slices.Delete(parts, 1, 2)
	}
	if len(parts) != 4 {
		return "", "", ""
	}
	known := func(s string) string {
		if naming.CheckSegment("segment", s) != nil {
			return ""
		}
		return s
	}
	return known(parts[0]), known(parts[1]), known(parts[3])
}

// componentName is the nearest folder of a template that has a telling name.
func componentName(template string) string {
	numbered := regexp.MustCompile(`^[0-9]+[._-]`) // 10.app
	for dir := path.Dir(template); dir != "."; dir = path.Dir(dir) {
		name := legal(numbered.ReplaceAllString(path.Base(dir), ""))
		if name != "" && !slices.Contains(generic, name) {
			return name
		}
	}
	return "app"
}

// Legal makes a path segment of a name, "" where nothing of it is left.
func Legal(name string) string { return legal(name) }

func legal(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		}
		return '-'
	}, name)
	name = strings.Trim(name, "-_")
	return strings.TrimRight(name[:min(len(name), 63)], "-_")
}

func (d *discovery) component(name string) *FoundComponent {
	for i := range d.components {
		if d.components[i].Name == name {
			return &d.components[i]
		}
	}
	return nil
}

// attach gives code, examples, .env and compose files to the components they
// belong to.
func (d *discovery) attach() {
	for _, p := range d.code {
		s, err := python.Read(p, d.read(p))
		if err != nil {
			d.unread = append(d.unread, err)
			continue
		}
		var names []string
		for _, f := range s.Fields {
			names = append(names, f.Accepted...)
		}
		if len(names) == 0 {
			for _, problem := range s.Problems[:min(1, len(s.Problems))] {
				d.unread = append(d.unread, fault.Newf(fault.Invalid, fmt.Sprintf("%s:%d", p, problem.Line), "", "%s", problem.Message))
			}
			continue
		}
		if c := d.closest(p, names); c.Code == "" {
			c.Code = p
		}
	}
	for _, p := range d.examples {
		if c := d.closest(p, assigned(d.read(p))); c.Example == "" {
			c.Example = p
		}
	}
	for _, p := range d.dotenvs {
		c := d.closest(p, assigned(d.read(p)))
		c.Dotenv = append(c.Dotenv, p)
	}
	for _, p := range d.compose {
		d.attachCompose(p)
	}
}

// closest returns the component whose template emits most of the names; else
// the one of the same folder; else the one called app, or the first.
func (d *discovery) closest(p string, names []string) *FoundComponent {
	best, most := d.application(), 0
	for i := range d.components {
		c := &d.components[i]
		n := 0
		for _, v := range d.variables[c.Name] {
			if slices.Contains(names, v) {
				n += 2
			}
		}
		if c.Template != "" && path.Dir(c.Template) == path.Dir(p) {
			n++
		}
		if n > most {
			best, most = c, n
		}
	}
	return best
}

// application is the component of the project's own program.
func (d *discovery) application() *FoundComponent {
	if c := d.component("app"); c != nil {
		return c
	}
	return &d.components[0]
}

// assigned returns the names that lines of a .env file assign, commented out or
// not. It decides which component a file belongs to, nothing more.
func assigned(src []byte) []string {
	assignment := regexp.MustCompile(`(?m)^[ \t]*(?:#[ \t]*)?(?:export[ \t]+)?([A-Z][A-Z0-9_]*)=`)
	var names []string
	for _, m := range assignment.FindAllSubmatch(src, -1) {
		names = append(names, string(m[1]))
	}
	return names
}

// servers are images of programs that read no secrets of the project's own.
var servers = []string{ //nolint:gochecknoglobals // a constant list
	"adminer", "alertmanager", "caddy", "clickhouse-server", "elasticsearch", "grafana", "haproxy", "kafka", "loki", "mailhog", "mailpit", "mariadb",
	"memcached", "minio", "mongo", "mysql", "nginx", "openbao", "opensearch", "otel-collector", "pgadmin4", "pgvector", "postgis", "postgres",
	"prometheus", "rabbitmq", "redis", "traefik", "valkey", "vault", "zookeeper",
}

func (d *discovery) attachCompose(p string) {
	var doc struct {
		Services map[string]struct {
			Image string    `yaml:"image"`
			Build yaml.Node `yaml:"build"`
		} `yaml:"services"`
	}
	if err := yaml.Unmarshal(d.read(p), &doc); err != nil {
		d.unread = append(d.unread, fault.New(fault.Invalid, "read "+p, "not a compose file", ""))
		return
	}
	here := d.application()
	for i := range d.components {
		if t := d.components[i].Template; t != "" && path.Dir(t) == path.Dir(p) {
			here = &d.components[i]
		}
	}
	for _, name := range sortedKeys(doc.Services) {
		s := doc.Services[name]
		if naming.CheckSegment("service", name) != nil {
			continue
		}
		c := d.component(name)
		if c == nil {
			image := path.Base(s.Image)
			image, _, _ = strings.Cut(image, "@")
			image, _, _ = strings.Cut(image, ":")
			if s.Build.IsZero() && slices.Contains(servers, image) {
				continue
			}
			c = here
		}
		if c.Compose == "" || c.Compose == p {
			c.Compose = p
			c.Services = append(c.Services, name)
		}
	}
}

func mostCommon(names []string) string {
	count, best := map[string]int{}, ""
	for _, n := range names {
		if n == "" {
			continue
		}
		if count[n]++; best == "" || count[n] > count[best] {
			best = n
		}
	}
	return best
}

// abs is the folder's file as the operating system writes it.
func abs(folder, rel string) string { return filepath.Join(folder, filepath.FromSlash(rel)) }
