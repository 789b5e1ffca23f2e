package config

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"envctl/internal/atomicfile"
	"envctl/internal/fault"
)

// User is the operator's own file, config.yaml in the user's config folder:
// addresses and credentials, which no repository file may name.
type User struct {
	Author      string              `yaml:"author" doc:"who writes, for the embedded store's history"`
	Vault       VaultServer         `yaml:"vault" doc:"the Vault or OpenBao server"`
	Vaults      Map[VaultServer]    `yaml:"vaults" doc:"servers of single environments, by project/environment"`
	Runtimes    Map[RuntimeBinding] `yaml:"runtimes" doc:"docker endpoints bound to an environment, by project/environment"`
	OnePassword OnePassword         `yaml:"onepassword" doc:"how op:// references are resolved"`
	Dokploy     Dokploy             `yaml:"dokploy" doc:"the Dokploy server"`
	Databases   Map[DatabaseServer] `yaml:"databases" doc:"database servers whose passwords are rotated, by project/environment/component"`
	Templates   Templates           `yaml:"templates" doc:"what templates may read"`

	File string `yaml:"-"`
}

// VaultServer is a server's address and how to log in. Credentials may be op://
// references.
type VaultServer struct {
	Address   string `yaml:"address" doc:"https://host:port"`
	Namespace string `yaml:"namespace" doc:"the namespace"`
	CACert    string `yaml:"ca_cert" doc:"a PEM file"`
	Token     string `yaml:"token" doc:"an op:// reference"`
	RoleID    string `yaml:"role_id" doc:"AppRole's role id, or an op:// reference"`
	SecretID  string `yaml:"secret_id" doc:"an op:// reference"`
	RootToken string `yaml:"root_token" doc:"an op:// reference, used by the admin commands that name it"`
}

// RuntimeBinding binds a docker endpoint to one environment: every container
// there that has the right name is evidence.
type RuntimeBinding struct {
	Host string `yaml:"host" doc:"unix:///path, ssh://user@host or https://host:port"`
}

// OnePassword is how references are resolved.
type OnePassword struct {
	ConnectHost string `yaml:"connect_host" doc:"the Connect server's address"`
	Program     string `yaml:"program" doc:"the op program"`
}

// Dokploy is the Dokploy server.
type Dokploy struct {
	URL    string `yaml:"url" doc:"https://host/api"`
	APIKey string `yaml:"api_key" doc:"an op:// reference"`
}

// DatabaseServer is where a component's database is, and its administrator.
type DatabaseServer struct {
	URL      string `yaml:"url" doc:"postgres://ADMIN@host:5432/database or redis://ADMIN@host:6379; without ADMIN, a role changes its own password"`
	Password string `yaml:"password" doc:"the administrator's; an op:// reference"`
	CACert   string `yaml:"ca_cert" doc:"a PEM file"`
}

// Templates widens what templates may read beyond <project>/<environment>/*.
type Templates struct {
	Allow []string `yaml:"allow" doc:"store path patterns such as ledger/shared/*"`
}

// Dirs are the operator's folders.
type Dirs struct{ Config, State, Cache string }

// UserDirs returns envctl's folders by the XDG base directory specification.
func UserDirs(getenv func(string) string) Dirs {
	home := getenv("HOME")
	pick := func(variable string, fallback ...string) string {
		if d := getenv(variable); filepath.IsAbs(d) {
			return filepath.Join(d, "envctl")
		}
		return filepath.Join(append(append([]string{home}, fallback...), "envctl")...)
	}
	return Dirs{
		Config: pick("XDG_CONFIG_HOME", ".config"),
		State:  pick("XDG_STATE_HOME", ".local", "state"),
		Cache:  pick("XDG_CACHE_HOME", ".cache"),
	}
}

// LoadUser reads the operator's file; one that does not exist is empty.
func LoadUser(dirs Dirs) (*User, error) {
	u := &User{File: filepath.Join(dirs.Config, "config.yaml")}
	if _, err := os.Lstat(u.File); errors.Is(err, fs.ErrNotExist) {
		return u, nil
	}
	data, err := readBounded(u.File)
	if err != nil {
		return nil, err
	}
	if _, err := decode(u.File, data, u); err != nil {
		return nil, err
	}
	return u, nil
}

// VaultFor returns the server of an environment: its own entry, else the common one.
func (u *User) VaultFor(project, environment string) VaultServer {
	if v, ok := u.Vaults.Get(project + "/" + environment); ok {
		return v
	}
	return u.Vault
}

// Trust is the list of project files whose commands and URLs may be used.
type Trust struct {
	file  string
	Files map[string]Pin `json:"files"`
}

// Pin is one trusted project file.
type Pin struct {
	SHA256 string    `json:"sha256"`
	At     time.Time `json:"at"`
}

// LoadTrust reads the pins from the user's config folder.
func LoadTrust(dirs Dirs) (*Trust, error) {
	t := &Trust{file: filepath.Join(dirs.Config, "trust.json"), Files: map[string]Pin{}}
	data, err := os.ReadFile(t.file)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err == nil {
		err = json.Unmarshal(data, t)
	}
	if err != nil {
		return nil, fault.Wrap(unwrapPath(err), fault.Invalid, "read "+t.file, "move the file away and run envctl trust again")
	}
	return t, nil
}

// Digest returns the hexadecimal SHA-256 of the project file.
func (p *Project) Digest() string {
	sum := sha256.Sum256(p.Data)
	return hex.EncodeToString(sum[:])
}

// Trusted tells whether p is pinned exactly as it is now.
func (t *Trust) Trusted(p *Project) bool { return t.Files[p.File].SHA256 == p.Digest() }

// Pin records p as trusted and writes the list.
func (t *Trust) Pin(ctx context.Context, p *Project, now time.Time) (err error) {
	dir := filepath.Dir(t.file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fault.Wrap(unwrapPath(err), fault.Unavailable, "create "+dir, "check the folder's permissions")
	}
	unlock, err := atomicfile.Lock(ctx, filepath.Join(dir, ".trust.json.lock"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	fresh, err := LoadTrust(Dirs{Config: dir})
	if err != nil {
		return err
	}
	fresh.Files[p.File] = Pin{SHA256: p.Digest(), At: now.UTC()}
	t.Files = fresh.Files
	data, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(t.file, append(data, '\n'), 0o600)
}
