// Package graph is the build graph: vertices, the edges between them, and where in a Dockerfile each came from.
//
// It says what BuildKit's LLB says, in types that carry no protobuf and no
// session state, so that the rest of the program never sees LLB. A Graph is
// immutable once made and may be read from any goroutine.
package graph

import (
	"fmt"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Graph is one build: a root edge and everything that it needs.
type Graph struct {
	// Root is the result; its Vertex is nil for an empty file system (scratch).
	Root Edge
	// Vertices lists every vertex once, inputs before their users.
	Vertices []*Vertex
}

// Edge is one output of a vertex. The zero Edge is an empty file system.
type Edge struct {
	Vertex *Vertex
	Output int
}

// Vertex is one operation with its inputs.
type Vertex struct {
	// ID names the operation and, through the inputs' IDs, all that it is
	// made from: equal vertices of one frontend have equal IDs.
	ID string
	// Name is what a user reads: "[build 2/5] RUN make".
	Name   string
	Inputs []Edge
	Op     Op
	// Platform is what the operation is carried out for; nil means any.
	Platform *ocispecs.Platform
	// IgnoreCache is set where the user asked for a fresh result.
	IgnoreCache bool
	// Positions are the places in the Dockerfile, the most specific last.
	Positions []Position
}

// Op is one of *Source, *Exec, *File, *Merge, *Diff.
type Op interface{ op() }

func (*Source) op() {}
func (*Exec) op()   {}
func (*File) op()   {}
func (*Merge) op()  {}
func (*Diff) op()   {}

// Position is a range of lines in a file, counted from 1, both ends included.
type Position struct {
	File       *SourceFile
	Start, End int
}

// SourceFile is a Dockerfile as it was read.
type SourceFile struct {
	Name string
	Data []byte
}

// String gives "Dockerfile:12" or "Dockerfile:12-14".
func (p Position) String() string {
	if p.File == nil {
		return ""
	}
	if p.End > p.Start {
		return fmt.Sprintf("%s:%d-%d", p.File.Name, p.Start, p.End)
	}
	return fmt.Sprintf("%s:%d", p.File.Name, p.Start)
}

// Source is a file system from elsewhere.
type Source struct {
	// Identifier is "docker-image://…", "local://…", "https://…", "git://…" or
	// "oci-layout://…", as BuildKit writes it.
	Identifier string
	// Attrs are BuildKit's attributes of sources (solver/pb/attr.go).
	Attrs map[string]string
}

// Network is what a step may reach.
type Network int

// The networks that a step can ask for.
const (
	NetworkDefault Network = iota
	NetworkHost
	NetworkNone
)

// Exec runs a process.
type Exec struct {
	Args, Env  []string
	Cwd        string
	User       string // as USER has it: name or number, with an optional ":group"
	Hostname   string
	ExtraHosts []Host
	Ulimits    []Ulimit
	Network    Network
	// Insecure asks for all privileges of the builder (RUN --security=insecure).
	Insecure  bool
	SecretEnv []SecretEnv
	ProxyEnv  []string // KEY=value, never part of an identity
	Mounts    []Mount
	// Devices are the names of devices asked for by RUN --device.
	Devices []string
	// OptionalDevices are those of Devices that the step can do without.
	OptionalDevices []string
	// CgroupParent and Limits ask for control groups; named here so that they
	// can be refused by name.
	CgroupParent string
	Limits       []string
	// ValidExitCodes are the codes besides 0 that count as success.
	ValidExitCodes []int32
	// RemoveMountStubs says that mount points made for the step go away after it.
	RemoveMountStubs bool
}

// Host is a line of /etc/hosts.
type Host struct{ Name, IP string }

// Ulimit is a resource limit (setrlimit(2)); -1 is unlimited.
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// SecretEnv puts a secret's value into the environment of the step.
type SecretEnv struct {
	ID, Name string
	Optional bool
}

// MountType says what is mounted.
type MountType int

// The types of mounts.
const (
	MountBind MountType = iota
	MountCache
	MountTmpfs
	MountSecret
	MountSSH
)

// Mount is a file system seen by a step. The one with Target "/" is its root.
type Mount struct {
	Type     MountType
	Target   string
	Selector string // the part of the input that is mounted
	Input    int    // index in Vertex.Inputs, -1 for an empty file system
	Output   int    // index among the vertex's outputs, -1 when writes are discarded
	ReadOnly bool

	Cache  *CacheMount  // for MountCache
	Secret *SecretMount // for MountSecret and MountSSH
	Size   int64        // for MountTmpfs: bytes, 0 for the kernel's default
}

// Sharing says who may use a cache mount at once.
type Sharing int

// The ways of sharing a cache mount.
const (
	SharingShared Sharing = iota
	SharingPrivate
	SharingLocked
)

// CacheMount is a directory kept between builds.
type CacheMount struct {
	ID      string
	Sharing Sharing
}

// SecretMount is a file or a socket given by the user at run time.
type SecretMount struct {
	ID       string
	UID, GID uint32
	Mode     uint32
	Optional bool
}

// File changes a file system without running anything in it.
type File struct{ Actions []FileAction }

// FileAction is one step of a File.
//
// Input and Secondary count the vertex's inputs first, then the earlier
// actions; -1 is an empty file system. Output is the vertex's output that this
// action's result becomes, or -1.
type FileAction struct {
	Input, Secondary, Output int
	// Do is one of *Copy, *Mkdir, *Mkfile, *Rm, *Symlink.
	Do any
}

// Owner is who owns what an action makes; nil fields mean "as it is" (0:0 for
// what is new).
type Owner struct{ User, Group *User }

// User is a user or group: by ID when Name is empty, else looked up in
// /etc/passwd or /etc/group of the input with index Input (-1: nowhere).
type User struct {
	ID    uint32
	Name  string
	Input int
}

// Copy copies from the secondary input into the input. The fields mean what
// they mean in BuildKit's pb.FileActionCopy.
type Copy struct {
	Src, Dest                      string
	Owner                          *Owner
	Mode                           int32 // -1 keeps
	ModeStr                        string
	FollowSymlink                  bool
	DirCopyContents                bool
	AttemptUnpack                  bool
	CreateDestPath                 bool
	AllowWildcard                  bool
	AllowEmptyWildcard             bool
	Timestamp                      *time.Time // nil keeps
	IncludePatterns                []string
	ExcludePatterns                []string
	RequiredPaths                  []string
	AlwaysReplaceExistingDestPaths bool
}

// Mkdir makes a directory.
type Mkdir struct {
	Path        string
	Mode        uint32
	MakeParents bool
	Owner       *Owner
	Timestamp   *time.Time
}

// Mkfile makes a regular file, replacing what is there.
type Mkfile struct {
	Path      string
	Mode      uint32
	Data      []byte
	Owner     *Owner
	Timestamp *time.Time
}

// Rm removes a path and what is below it.
type Rm struct {
	Path          string
	AllowNotFound bool
	AllowWildcard bool
}

// Symlink makes a symbolic link at New that says Old.
type Symlink struct {
	Old, New  string
	Owner     *Owner
	Timestamp *time.Time
}

// Merge lays its inputs over each other, the last on top; deletions count.
type Merge struct{ Inputs []int }

// Diff is what Upper has and Lower has not.
type Diff struct{ Lower, Upper int }
