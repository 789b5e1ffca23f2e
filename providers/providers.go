// Package providers states the contracts between envctl and the systems it
// touches; each system is one folder below it.
package providers

import (
	"context"
	"io"
	"time"

	"envctl/internal/secret"
	"envctl/naming"
)

// Version numbers a path's revisions from 1, with the semantics of KV v2.
type Version int

const (
	// Absent as a write's base means: the path must not exist.
	Absent Version = 0
	// Latest as a read's version means: the newest one.
	Latest Version = 0
	// Any as a write's base means: no precondition. It is for sets and
	// removals of one key, which leave every sibling as it is.
	Any Version = -1
)

// Bundle is one version of a path: all its keys and where it came from.
type Bundle struct {
	Path    naming.Path
	Version Version
	Created time.Time // of this version, UTC; tells a recreated path from the one seen before
	Values  map[string]secret.Value
	// NonString lists, sorted, the keys whose stored value is not a string; their
	// Value is the JSON text as it arrived (large numbers come back rounded).
	NonString []string
	// Custom is the path's custom metadata, as it is now whatever the version.
	Custom map[string]string
	// AsOf is when the store answered, by the clock that stamps its versions; zero
	// where it does not tell.
	AsOf time.Time
}

// Patch is a change of keys: a set Value replaces or adds its key, an unset
// Value removes it, every other key stays.
type Patch map[string]secret.Value

// Revision is one entry of a path's history.
type Revision struct {
	Version   Version
	Created   time.Time
	Author    string // "" when the store does not say
	Deleted   bool   // soft: can be restored
	Destroyed bool
}

// Reader reads a store. Methods are safe for concurrent use and end when ctx
// does. Errors carry fault kinds: NotFound, Deleted and Destroyed are three
// different answers; Denied, Expired, Sealed, Unavailable, Invalid as they are.
type Reader interface {
	// Read returns a version of p (Latest for the newest). A deleted or
	// destroyed version is an error of that kind, with the version in its words.
	Read(ctx context.Context, p naming.Path, v Version) (Bundle, error)
	// History returns p's versions, oldest first; NotFound when p never was.
	History(ctx context.Context, p naming.Path) ([]Revision, error)
	// List returns, sorted, the paths below prefix (trailing parts empty) that
	// hold or held a version. Nothing below is an empty list, not an error. Paths
	// that are envctl's own (naming.IsReserved) are left out.
	List(ctx context.Context, prefix naming.Path) ([]naming.Path, error)
}

// Store reads and writes. Write applies patch to p if its newest version is
// base, in one atomic step, and returns the new version; it never retries a
// write whose outcome is unknown without having read what happened (kind
// Unknown where even that failed). base Absent creates: Conflict if p exists,
// Deleted if its newest version is deleted (restore it first). base Any needs an
// existing live version: NotFound, Deleted or Destroyed otherwise. Any other base
// that is not the newest version is Conflict, and nothing was written; a base
// that is the newest version, deleted or destroyed, begins anew with patch alone.
type Store interface {
	Reader
	Write(ctx context.Context, p naming.Path, base Version, patch Patch) (Version, error)
	// Describe names the store and who is asking, for headings and doctor, e.g.
	// "vault https://vault.example.com:8200 (token from VAULT_TOKEN)". It opens nothing.
	Describe() string
}

// Shared is the optional ability of a store that several machines use: its
// versions are dated by one clock, and its check-and-set is one order for all.
// Shared does nothing; a lock in such a store holds for everybody.
type Shared interface{ Shared() }

// Lifecycle is the optional ability to delete and bring back versions.
type Lifecycle interface {
	Delete(ctx context.Context, p naming.Path, v ...Version) error   // soft; none named: the newest
	Undelete(ctx context.Context, p naming.Path, v ...Version) error //
	Destroy(ctx context.Context, p naming.Path, v ...Version) error  // for good
	Purge(ctx context.Context, p naming.Path) error                  // all versions and metadata, for good
}

// Meta is what a store keeps about a path beside its versions.
type Meta struct {
	Current     Version
	Created     time.Time
	MaxVersions int  // 0: the store's own default
	Gone        bool // the newest version is deleted or destroyed
	Custom      map[string]string
}

// Metadata is the optional ability to read and change a path's metadata.
// PatchMeta changes only the custom keys given ("" removes one).
type Metadata interface {
	Meta(ctx context.Context, p naming.Path) (Meta, error)
	PatchMeta(ctx context.Context, p naming.Path, custom map[string]string) error
	SetMaxVersions(ctx context.Context, p naming.Path, n int) error
}

// Fingerprinting is the optional ability of a store that keeps its own
// fingerprint key; without it the operator's own key is used.
type Fingerprinting interface {
	FingerprintKey(ctx context.Context) (secret.Key, error)
}

// Ghosts is the optional ability of a store whose own address form can be taken
// for a path's name, so that writes go astray: vault kv put secret/data/… writes
// below data/data/. Nothing is ever written there by envctl.
type Ghosts interface {
	// Ghost reads what stands in the place of p's ghost; errors are those of Read.
	Ghost(ctx context.Context, p naming.Path) (Bundle, error)
}

// Policies is the optional ability of a store that guards its paths by named
// policies. ReadPolicy is NotFound where there is none of that name; WritePolicy
// replaces the whole text, and removes the policy where text is "".
type Policies interface {
	ReadPolicy(ctx context.Context, name string) (string, error)
	WritePolicy(ctx context.Context, name, text string) error
}

// Kinds of credentials.
const (
	CredentialToken   = "token"   // a periodic token without a parent
	CredentialAppRole = "approle" // a role and a secret to log in with
)

// Credential is what a service opens a store with. Its accessor names it and is no
// secret. Values, by variable, come from Issue alone: the store shows them once.
type Credential struct {
	Policy, Kind string // the one policy that it has; a kind of above, or what came of one
	Accessor     string
	Mark         string // what Issue was given, "" for one that somebody else made
	Created      time.Time
	Expires      time.Time // zero: never, or not said
	Values       map[string]secret.Value
}

// Credentials is the optional ability of a store to let services in, each with one
// policy and nothing else.
type Credentials interface {
	// Issue makes a credential. Where its answer is lost, so is the value: what was
	// made is revoked, and the error says that nothing is left.
	Issue(ctx context.Context, policy, kind, mark string) (Credential, error)
	// Issued returns, without values, all that have this policy alone, whoever made
	// them: what they log in with before what they logged in as.
	Issued(ctx context.Context, policy string) ([]Credential, error)
	// Revoke ends one at once; one that is gone is fine.
	Revoke(ctx context.Context, c Credential) error
	// Prove uses c.Values as a service does: it reads one of can, and looks whether
	// it may read each of can and do no more there, and nothing at all in cannot.
	// Kind No says what is wrong.
	Prove(ctx context.Context, c Credential, can, cannot []naming.Path) error
}

// Release is what a deployer is asked to make real.
type Release struct {
	Project, Environment, Component string
	Services                        []Service
	// Values is the environment every service of the component gets.
	Values map[string]secret.Value
	// Marker changes whenever a store version or the template does: digests of
	// those, never of values. It reaches the container as ENVCTL_RELEASE.
	Marker string
	// Known, where it is not nil, is all that the deployer may overwrite of what
	// Overwriter.Foreign returns; anything else there is Conflict.
	Known map[string]secret.Value
	// Note is told how a long deployment is getting on; nil: nobody listens.
	Note func(words string)
	// Was returns the values of the release with that marker, nil where they cannot be
	// found out any more: what differs from them is somebody else's. Nil: not known.
	Was func(marker string) (map[string]secret.Value, error)
	// Started is told of each program of this machine that works on the release,
	// before that is given its input; an error of it ends the program and the
	// deployment. nil: nobody wants to know.
	Started func(pid int) error
}

// Tell tells r.Note, where there is one.
func (r Release) Tell(words string) {
	if r.Note != nil {
		r.Note(words)
	}
}

// Service is one service of a component, with the name its container must have.
type Service struct {
	Name, Container string
	// Rolling asks that a new container is healthy before the old one goes, where
	// the service has only one. Both cannot have one name: Container's is left off.
	Rolling bool
}

// Deployment identifies one deploy; times are the deployer's own clock.
type Deployment struct {
	ID      string
	Started time.Time
}

// Deployer makes a release real. Deploy starts it and returns at once or when
// the deployer has taken the work; Wait returns nil when the deployer says the
// deployment ended well and every container is healthy (or running, where no
// health check is defined), and an error that names the service and the
// reason otherwise: crash-looping, unhealthy, exited, timed out (Unavailable).
// Neither proves anything about values: that is read from the Runtime.
type Deployer interface {
	Deploy(ctx context.Context, r Release) (Deployment, error)
	Wait(ctx context.Context, r Release, d Deployment) error
	Describe() string
}

// Replacement says in words how a service's containers give way to new ones.
type Replacement struct{ Service, How string }

// Replacer is the optional ability of a deployer to say before it deploys r how
// each of its services would be replaced. It changes nothing.
type Replacer interface {
	Replaces(ctx context.Context, r Release) ([]Replacement, error)
}

// Removal is what was removed, by name, sorted.
type Removal struct {
	Containers, Networks, Volumes []string
	// Left are containers and networks of the same deployment that stay, since
	// they do not carry its labels or something else uses them.
	Left []string
}

// Remover is the optional ability of a deployer to take away what it made.
// Remove stops and removes the containers that carry the release's project,
// environment and component as labels, and their network; volumes too where
// asked, for good. Of the release only those three names are read. Nothing there
// is an empty Removal, not an error.
type Remover interface {
	Remove(ctx context.Context, r Release, volumes bool) (Removal, error)
}

// Place is one of the objects that releases are deployed to: for Dokploy a
// project, an environment in it, and a service in that.
type Place struct {
	Kind, Name string
	ID         string // "" where it is not there
	Mark       string // what its maker left there; "" for one that Build did not make
	// Kept says why something of it would be lost for good if it were removed, ""
	// where Build and a release make it again as it is.
	Kept string
}

// Builder is the optional ability of a deployer to make the places that releases
// are deployed to, and to take them away. Of a release its three names and, for
// Build, its services are read.
type Builder interface {
	// Places returns r's, from the outside in. Refused where two have one name.
	Places(ctx context.Context, r Release) ([]Place, error)
	// Build makes r's place of that kind in those around it, and leaves mark there.
	// Conflict where somebody made one of its name at the same moment: theirs stays.
	Build(ctx context.Context, r Release, kind, mark string) (Place, error)
	// Clear stops what runs in a place and keeps the place; one that is gone is fine.
	Clear(ctx context.Context, p Place) error
	// Raze removes a place and what runs in it; volumes too where asked, for good.
	// Refused where other places are in it; one that is gone is fine.
	Raze(ctx context.Context, p Place, volumes bool) error
}

// Keeper is the optional ability of a deployer to give services variables beside
// a release's: they stay through releases, until they are taken away.
type Keeper interface {
	// Keep sets variables, under a note of who did; those of an earlier note go.
	// Without values it takes away those that carry this note, if they still do.
	Keep(ctx context.Context, r Release, note string, values map[string]secret.Value) error
}

// Told is the optional ability of a deployer that keeps the services' variables
// itself to say what it keeps: what their containers would be given by its next
// deployment. Of a release its three names are read. NotFound where it has no such
// service.
type Told interface {
	Env(ctx context.Context, r Release) (map[string]secret.Value, error)
}

// Stager is the optional ability of a deployer that keeps the services' variables
// itself to change what the next deployment gives them, and deploy nothing. Errors
// are Deploy's.
type Stager interface {
	Stage(ctx context.Context, r Release) error
}

// Overwriter is the optional ability of a deployer that puts a release where people
// write too, and that keeps no version of what was there.
type Overwriter interface {
	// Foreign returns, by variable, what r would overwrite or take away that no release
	// wrote, as it is written there; unset where it says what r says. released tells that
	// an earlier release is there beside it.
	Foreign(ctx context.Context, r Release) (foreign map[string]secret.Value, released bool, err error)
	// Return puts back what Foreign returned, takes away what r brought to those
	// variables, and all of its release where nothing was released before. What somebody
	// wrote since stays theirs. Then, where restart says so, it deploys, and waits as Wait
	// does. Of r the variables of foreign do not count.
	Return(ctx context.Context, r Release, foreign map[string]secret.Value, released, restart bool) error
}

// Watcher is the optional ability of a deployer to show the containers of a
// release and their output, for where no runtime reaches them. What it shows has
// neither labels nor environment, and is no evidence of any value.
type Watcher interface {
	// Watch returns the containers of r's services, sorted by name; none where it
	// was never deployed.
	Watch(ctx context.Context, r Release) ([]Container, error)
	// Output writes what a container of Watch said, without times.
	Output(ctx context.Context, r Release, c Container, o LogOptions, w io.Writer) error
}

// ContainerQuery says which containers are evidence for an environment: those
// that carry the labels envctl.project and envctl.environment with these values,
// or, where the operator bound the endpoint to the environment (Bound), also
// those named in Names.
type ContainerQuery struct {
	Project, Environment, Component string // Component "" for all
	Bound                           bool
	Names                           []string
}

// Labels a deployer puts on containers, and the variable that carries Marker.
const (
	LabelProject     = "envctl.project"
	LabelEnvironment = "envctl.environment"
	LabelComponent   = "envctl.component"
	LabelService     = "envctl.service"
	LabelRelease     = "envctl.release"
	MarkerVariable   = "ENVCTL_RELEASE"
)

// Container is what the engine says of one container.
type Container struct {
	ID, Name, Service, Component, Image string
	Labels                              map[string]string
	State                               string // created, running, paused, restarting, exited, dead
	Health                              string // "" without a health check, else starting, healthy, unhealthy
	ExitCode                            int
	Restarts                            int
	Created, Started                    time.Time
	PID                                 int
	Env                                 map[string]secret.Value // what the engine was told
}

// Process is one running process of a container. Env is nil and Err says why
// when its environment cannot be read ("configuration only").
type Process struct {
	PID     int
	PPID    int    // the parent, as the host numbers it; 0 when unknown
	Exe     string // base name of the executable
	Started time.Time
	Env     map[string]secret.Value
	Err     error
}

// Question is one GET request that carries a secret in a header.
type Question struct {
	URL    string // https, or http on loopback
	Header string
	Value  secret.Value
}

// Job is one run of a program that the project file names and that is no
// deployment: it reads what it needs from its environment.
type Job struct {
	Op                              string // what it is run for, for errors
	Command                         string // as envctl.yaml has it
	Project, Environment, Component string
	Values                          map[string]secret.Value // its variables
	Started                         func(pid int) error     // as of a Release
}

// LogOptions chooses what of a container's output is wanted.
type LogOptions struct {
	Tail   int // lines; 0: all
	Follow bool
	Since  time.Time
}

// Runtime looks at running containers.
type Runtime interface {
	// Containers returns those that are evidence, sorted by name.
	Containers(ctx context.Context, q ContainerQuery) ([]Container, error)
	// Processes returns every process whose cgroup names the container, by pid.
	Processes(ctx context.Context, c Container) ([]Process, error)
	Logs(ctx context.Context, c Container, o LogOptions, w io.Writer) error
	Describe() string
}

// Surveyor is the optional ability of a runtime to tell which environments of a
// project have containers, running or not, by their labels; sorted.
type Surveyor interface {
	Environments(ctx context.Context, project string) ([]string, error)
}
