package commands

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"

	"envctl/internal/atomicfile"
	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/playbooks"
	"envctl/providers"
	"envctl/providers/all"
	"envctl/providers/command"
	"envctl/providers/docker"
	"envctl/providers/embedded"
	"envctl/providers/onepassword"
	"envctl/providers/probe"
	"envctl/providers/vault"
)

// StoreFile is the embedded store's place in a project.
const StoreFile = ".envctl/store.age"

func (a *app) dirs() config.Dirs { return config.UserDirs(a.Getenv) }

// projectFile returns the project file that is meant.
func (a *app) projectFile() (string, error) {
	if a.globals.config != "" {
		return a.abs(a.globals.config), nil
	}
	return config.Find(a.WorkDir)
}

// open reads the project and the operator's file and wires the world. Nothing
// else is opened.
func (a *app) open() (*playbooks.World, error) {
	if a.world != nil {
		return a.world, nil
	}
	file, err := a.projectFile()
	if err != nil {
		return nil, err
	}
	a.world, err = a.wire(file)
	return a.world, err
}

// unusual is the name of a project file that is not called as usual, else "".
func unusual(file string) string {
	if name := filepath.Base(file); name != config.FileName {
		return name
	}
	return ""
}

// openAt is open for the project that a journal names: its folder and its file's
// name, "" for the usual one.
func (a *app) openAt(root, name string) (*playbooks.World, error) {
	if w, err := a.open(); err == nil && w.Project.Root == root && unusual(w.Project.File) == name {
		return w, nil
	}
	file := filepath.Join(root, cmp.Or(name, config.FileName))
	w, err := a.wire(file)
	if err != nil {
		return nil, fault.Wrap(err, fault.KindOf(err), "open the run's project", "the run was started with "+file)
	}
	a.world = w
	return w, nil
}

func (a *app) wire(file string) (*playbooks.World, error) {
	p, err := config.Load(file)
	if err != nil {
		return nil, err
	}
	dirs := a.dirs()
	u, err := config.LoadUser(dirs)
	if err != nil {
		return nil, err
	}
	trust, err := config.LoadTrust(dirs)
	if err != nil {
		return nil, err
	}
	a.ui.Debug(1, "project %s (%s), operator's file %s, trusted: %t", p.Name, p.File, u.File, trust.Trusted(p))
	w := &playbooks.World{
		Project: p, User: u, Dirs: dirs, Getenv: a.Getenv, WorkDir: a.WorkDir, Now: a.Now, Rand: a.Rand, Trusted: trust.Trusted(p),
	}
	if err := w.CheckNames(); err != nil {
		return nil, err
	}
	resolver := sync.OnceValue(a.resolver(u))
	w.Resolve = func(ctx context.Context, refs []string) (map[string]secret.Value, error) {
		return resolver().ResolveAll(ctx, refs)
	}
	w.OperatorKey = sync.OnceValues(func() (secret.Key, error) { return operatorKey(dirs) })
	stores := &memo[string, providers.Store]{}
	w.Store = func(e config.Environment) (providers.Store, error) {
		key := e.Store
		if e.Store == config.StoreVault {
			key += " " + e.Name
		}
		return stores.get(key, func() (providers.Store, error) { return a.openStore(w, e, resolver) })
	}
	runtimes := &memo[string, providers.Runtime]{}
	w.Runtime = func(e config.Environment) (providers.Runtime, error) {
		host := a.dockerHost(w, e)
		return runtimes.get(host, func() (providers.Runtime, error) {
			return docker.New(docker.Config{Host: host, CertDir: a.Getenv("DOCKER_CERT_PATH"), Env: a.Getenv})
		})
	}
	w.Policies = a.policiesOnce(w, resolver)
	w.Roles = func(e config.Environment, component string, d config.Database) (providers.Roles, error) {
		return a.openRoles(w, e, component, d, resolver)
	}
	w.Deployer = func(e config.Environment, component string) (providers.Deployer, error) {
		return a.openDeployer(w, e, component)
	}
	w.Ask = func(ctx context.Context, q providers.Question) (int, error) {
		return probe.New(probe.Config{Timeout: a.globals.timeout, Proxy: a.proxy()}).Ask(ctx, q)
	}
	w.Pause = pause
	w.Jobs = jobs(sync.OnceValue(func() *command.Runner {
		return command.NewRunner(command.Config{Dir: p.Root, Trusted: w.Trusted, Environ: a.childEnvironment(nil, false)})
	}))
	return w, nil
}

// jobs makes a runner of the project's programs when one is asked for.
type jobs func() *command.Runner

func (j jobs) Check(job providers.Job) error                    { return j().Check(job) }
func (j jobs) Run(ctx context.Context, job providers.Job) error { return j().Run(ctx, job) }

// memo opens each thing once.
type memo[K comparable, V any] struct {
	mu   sync.Mutex
	have map[K]V
}

func (m *memo[K, V]) get(k K, open func() (V, error)) (V, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := m.have[k]; ok {
		return v, nil
	}
	v, err := open()
	if err != nil {
		return v, err
	}
	if m.have == nil {
		m.have = map[K]V{}
	}
	m.have[k] = v
	return v, nil
}

// dockerHost is the endpoint of an environment: the operator's binding, else
// DOCKER_HOST, else the engine of this machine.
func (a *app) dockerHost(w *playbooks.World, e config.Environment) string {
	if b, ok := w.User.Runtimes.Get(w.Project.Name + "/" + e.Name); ok {
		return b.Host
	}
	return a.Getenv("DOCKER_HOST")
}

func (a *app) openStore(w *playbooks.World, e config.Environment, resolver func() *onepassword.Resolver) (providers.Store, error) {
	if e.Store == config.StoreLocal {
		return a.embedded(w), nil
	}
	server := w.User.VaultFor(w.Project.Name, e.Name)
	var refs []string
	c, err := vault.ConfigFromEnv(vault.Environment{
		Lookup: a.Getenv, Home: a.Getenv("HOME"), Address: server.Address,
		Resolve: func(ctx context.Context, ref string) (secret.Value, error) {
			// All of the server's credentials in one go: 1Password counts reads.
			got, err := resolver().ResolveAll(ctx, refs)
			if v, ok := got[ref]; ok {
				return v, nil
			}
			return secret.Value{}, err
		},
	})
	if err != nil {
		return nil, err
	}
	applyServer(&c, server)
	c.Mount, c.Timeout = w.Project.Vault.Mount, a.globals.timeout
	refs = c.References()
	return all.Vault(c)
}

// applyServer fills what the environment left open from the operator's file.
func applyServer(c *vault.Config, s config.VaultServer) {
	if c.Namespace == "" {
		c.Namespace = s.Namespace
	}
	if c.CACert == "" {
		c.CACert = s.CACert
	}
	if !c.Token.IsSet() && s.Token != "" {
		c.Token, c.TokenSource = secret.New(s.Token), "config.yaml"
	}
	if !c.RoleID.IsSet() && s.RoleID != "" && !c.Token.IsSet() {
		c.RoleID, c.SecretID = secret.New(s.RoleID), secret.New(s.SecretID)
	}
}

// embeddedConfig says where the project's own store is and who works on it.
func (a *app) embeddedConfig(root string, dirs config.Dirs, author string) embedded.Config {
	identity := a.Getenv("ENVCTL_IDENTITY_FILE")
	if identity == "" {
		identity = filepath.Join(dirs.Config, "identity.txt")
	}
	if author == "" {
		author = a.author()
	}
	return embedded.Config{
		File: filepath.Join(root, filepath.FromSlash(StoreFile)), Identity: a.abs(identity),
		PinDir: filepath.Join(dirs.Config, "stores"), Author: author, Now: a.Now, Rand: a.Rand,
		Passphrase: func(prompt string) (secret.Value, error) { return a.ui.Ask().Hidden(context.Background(), prompt) },
		Notice:     func(s string) { a.ui.Warn("%s", s) },
	}
}

func (a *app) author() string {
	name := a.Getenv("USER")
	if name == "" {
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

// embedded returns the project's own store. A write to a file that does not
// exist yet creates it, with this operator as its reader, and says so.
func (a *app) embedded(w *playbooks.World) providers.Store {
	c := a.embeddedConfig(w.Project.Root, w.Dirs, w.User.Author)
	return all.Embedded(c, func(ctx context.Context) error {
		made, err := a.ensureIdentity(ctx, c)
		if err != nil {
			return err
		}
		if made {
			a.ui.Note("made an identity: %s (back it up; without it the store stays closed)", c.Identity)
		}
		if err := os.MkdirAll(filepath.Dir(c.File), 0o700); err != nil {
			return fault.Newf(fault.Unavailable, "create "+StoreFile, "check the folder's permissions", "%s", plainCause(err))
		}
		if _, err := embedded.Create(ctx, c); err != nil {
			return err
		}
		a.ui.Note("made the store %s; run envctl init to add a recovery recipient", StoreFile)
		return nil
	})
}

// ensureIdentity makes the operator's identity when there is none.
func (a *app) ensureIdentity(ctx context.Context, c embedded.Config) (made bool, err error) {
	if _, err := os.Lstat(c.Identity); err == nil {
		return false, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return false, fault.Newf(fault.Unavailable, "read identity "+c.Identity, "", "%s", plainCause(err))
	}
	_, err = embedded.GenerateIdentity(ctx, c.Identity, secret.Value{})
	return err == nil, err
}

// operatorKey reads or makes the key of this operator's fingerprints.
func operatorKey(dirs config.Dirs) (secret.Key, error) {
	file := filepath.Join(dirs.Config, "fingerprint.key")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		data = make([]byte, 32)
		if _, err := rand.Read(data); err != nil {
			return secret.Key{}, err
		}
		if err := os.MkdirAll(dirs.Config, 0o700); err != nil {
			return secret.Key{}, fault.Newf(fault.Unavailable, "create "+dirs.Config, "", "%s", plainCause(err))
		}
		return secret.NewKey(data), atomicfile.Write(file, data, 0o600)
	}
	if err != nil || len(data) != 32 {
		return secret.Key{}, fault.New(fault.Invalid, "read "+file, "it is not a fingerprint key", "remove it; a new one is made, and old fingerprints no longer compare")
	}
	return secret.NewKey(data), nil
}

// resolver says how op:// references are resolved; it starts nothing.
func (a *app) resolver(u *config.User) func() *onepassword.Resolver {
	return func() *onepassword.Resolver {
		c := onepassword.FromEnviron(a.Environ())
		if c.ConnectHost == "" {
			c.ConnectHost = u.OnePassword.ConnectHost
		}
		c.OpProgram, c.Version = u.OnePassword.Program, a.Version
		if exe, err := filepath.EvalSymlinks(a.Executable); err == nil {
			c.Helper = onepassword.HelperBeside(exe)
		}
		c.Progress = func(m string) { a.ui.Note("envctl: %s", strings.TrimSpace(m)) }
		return onepassword.New(c)
	}
}
