package frontend

import (
	"fmt"
	"time"

	"github.com/moby/buildkit/solver/pb"

	"github.com/strake-build/strake/shared/graph"
)

func decodeFile(op *pb.FileOp) (*graph.File, error) {
	f := &graph.File{}
	for i, a := range op.GetActions() {
		do, err := decodeAction(a)
		if err != nil {
			return nil, fmt.Errorf("action %d: %w", i, err)
		}
		f.Actions = append(f.Actions, graph.FileAction{
			Input:     index(a.GetInput()),
			Secondary: index(a.GetSecondaryInput()),
			Output:    index(a.GetOutput()),
			Do:        do,
		})
	}
	return f, nil
}

func decodeAction(a *pb.FileAction) (any, error) {
	switch o := a.GetAction().(type) {
	case *pb.FileAction_Copy:
		return decodeCopy(o.Copy), nil
	case *pb.FileAction_Mkdir:
		m := o.Mkdir
		return &graph.Mkdir{
			Path: m.GetPath(), Mode: permission(m.GetMode()), MakeParents: m.GetMakeParents(),
			Owner: decodeOwner(m.GetOwner()), Timestamp: timestamp(m.GetTimestamp()),
		}, nil
	case *pb.FileAction_Mkfile:
		m := o.Mkfile
		return &graph.Mkfile{
			Path: m.GetPath(), Mode: permission(m.GetMode()), Data: m.GetData(),
			Owner: decodeOwner(m.GetOwner()), Timestamp: timestamp(m.GetTimestamp()),
		}, nil
	case *pb.FileAction_Symlink:
		l := o.Symlink
		return &graph.Symlink{
			Old: l.GetOldpath(), New: l.GetNewpath(),
			Owner: decodeOwner(l.GetOwner()), Timestamp: timestamp(l.GetTimestamp()),
		}, nil
	case *pb.FileAction_Rm:
		r := o.Rm
		return &graph.Rm{Path: r.GetPath(), AllowNotFound: r.GetAllowNotFound(), AllowWildcard: r.GetAllowWildcard()}, nil
	default:
		return nil, fmt.Errorf("%T: not supported", o)
	}
}

func decodeCopy(c *pb.FileActionCopy) *graph.Copy {
	return &graph.Copy{
		Src:                            c.GetSrc(),
		Dest:                           c.GetDest(),
		Owner:                          decodeOwner(c.GetOwner()),
		Mode:                           c.GetMode(),
		ModeStr:                        c.GetModeStr(),
		FollowSymlink:                  c.GetFollowSymlink(),
		DirCopyContents:                c.GetDirCopyContents(),
		AttemptUnpack:                  c.GetAttemptUnpackDockerCompatibility(),
		CreateDestPath:                 c.GetCreateDestPath(),
		AllowWildcard:                  c.GetAllowWildcard(),
		AllowEmptyWildcard:             c.GetAllowEmptyWildcard(),
		Timestamp:                      timestamp(c.GetTimestamp()),
		IncludePatterns:                c.GetIncludePatterns(),
		ExcludePatterns:                c.GetExcludePatterns(),
		RequiredPaths:                  c.GetRequiredPaths(),
		AlwaysReplaceExistingDestPaths: c.GetAlwaysReplaceExistingDestPaths(),
	}
}

// permission is what BuildKit's file backend takes of a mode for what it makes.
func permission(mode int32) uint32 { return uint32(mode) & 0o777 }

// timestamp reads nanoseconds since 1970, where -1 is none.
func timestamp(ns int64) *time.Time {
	if ns == -1 {
		return nil
	}
	t := time.Unix(0, ns)
	return &t
}

func decodeOwner(o *pb.ChownOpt) *graph.Owner {
	if o == nil {
		return nil
	}
	return &graph.Owner{User: decodeUser(o.User), Group: decodeUser(o.Group)}
}

func decodeUser(u *pb.UserOpt) *graph.User {
	switch o := u.GetUser().(type) {
	case *pb.UserOpt_ByName:
		return &graph.User{Name: o.ByName.GetName(), Input: index(o.ByName.GetInput())}
	case *pb.UserOpt_ByID:
		return &graph.User{ID: o.ByID, Input: -1}
	default:
		return nil
	}
}
