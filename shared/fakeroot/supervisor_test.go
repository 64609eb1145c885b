package fakeroot

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// shell runs a script under the emulation and checks its output.
func shell(t *testing.T, o order, script, want string) report {
	t.Helper()
	if o.Dir == "" {
		o.Dir = workDir(t, builderID)
	}
	o.Args = []string{"sh", "-c", script}
	r := emulate(t, o)
	if r.Err != "" || r.Code != 0 {
		t.Errorf("code %d, error %q", r.Code, r.Err)
	}
	if d := cmp.Diff(want, r.Output); d != "" {
		t.Errorf("output (-want +got):\n%s", d)
	}
	return r
}

func TestSupported(t *testing.T) {
	t.Parallel()
	if err := Supported(); err != nil {
		t.Error(err)
	}
	r := emulate(t, order{Dir: workDir(t, builderID), Probe: true})
	if r.Err != "" {
		t.Error(r.Err)
	}
}

func TestFirstIdentity(t *testing.T) {
	t.Parallel()
	o := order{Identity: Identity{UID: 70, GID: 71, Groups: []uint32{71, 80}}}
	shell(t, o, "id -u; id -g; id -G; sh -c 'id -u'; stat -c %u .; touch x 2>/dev/null || echo closed", "70\n71\n71 80\n70\n0\nclosed\n")
}

func TestStaticProgram(t *testing.T) {
	t.Parallel()
	dir := workDir(t, builderID)
	if err := os.Mkdir(filepath.Join(dir, "open"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(dir, "open"), builderID, builderID); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "open"), 0o777); err != nil {
		t.Fatal(err)
	}
	r := emulate(t, order{Dir: dir, Args: []string{helperBinary(t)}, Env: []string{helperEnv + "=", programEnv + "=static"}})
	if r.Err != "" || r.Code != 0 {
		t.Errorf("code %d, error %q", r.Code, r.Err)
	}
	if d := cmp.Diff("1002 1002 1001 operation not permitted\nuid=1002 gid=1001 groups=1001,70007,70008\n", r.Output); d != "" {
		t.Errorf("output (-want +got):\n%s", d)
	}
	want := []string{". 0040755 0:0", "open 0040777 0:0"}
	for i := range 30 {
		want = append(want, fmt.Sprintf("f%d 0106711 %d:%d", i, i, 100+i), fmt.Sprintf("open/g%d 0100640 1002:1001", i))
	}
	if d := cmp.Diff(slices.Sorted(slices.Values(want)), r.Tree); d != "" {
		t.Errorf("tree (-want +got):\n%s", d)
	}
}

// TestSignals lets signals come to the supervisor, as they do in any program of Go. One that breaks off
// SECCOMP_IOCTL_NOTIF_ADDFD would have the process take 0 for the descriptor of its new file.
func TestSignals(t *testing.T) {
	t.Parallel()
	r := emulate(t, order{Dir: workDir(t, builderID), Args: []string{helperBinary(t)}, Env: []string{helperEnv + "=", programEnv + "=create"}, Disturb: true})
	if r.Err != "" || r.Code != 0 {
		t.Errorf("code %d, error %q: %s", r.Code, r.Err, r.Output)
	}
}

// TestForeignACL sets access control lists in a user namespace that knows one id only, which is where the builder is, too.
func TestForeignACL(t *testing.T) {
	t.Parallel()
	const (
		list    = "0200000001000700ffffffff04000500ffffffff080005000400000010000500ffffffff20000500ffffffff"
		chmoded = "0200000001000700ffffffff04000500ffffffff080005000400000010000100ffffffff20000100ffffffff"
	)
	r := shell(t, order{Alone: true}, `mkdir d gone; for i in d gone; do setfattr -n system.posix_acl_access -v 0x`+list+` $i; done
getfattr -e hex -n system.posix_acl_access d; stat -c %a d; chmod 711 d; cp -a d copy
setfattr -n system.posix_acl_default -v 0x`+list+` d; setfattr -x system.posix_acl_access gone`, "# file: d\nsystem.posix_acl_access=0x"+list+"\n\n755\n")
	want := []string{
		". 0040755 0:0",
		"copy 0040711 0:0 system.posix_acl_access=" + chmoded,
		"d 0040711 0:0 system.posix_acl_access=" + chmoded + " system.posix_acl_default=" + list,
		"gone 0040755 0:0",
	}
	if d := cmp.Diff(want, r.Tree); d != "" {
		t.Errorf("tree (-want +got):\n%s", d)
	}
}

// TestFlood lets eight processes make 100,000 calls between them.
func TestFlood(t *testing.T) {
	t.Parallel()
	r := shell(t, order{}, `
for i in 1 2 3 4 5 6 7 8; do setpriv --reuid=$i --clear-groups perl -e '
	for (1..6250) { my @s = stat "."; die "not root" if $s[4] != 0; $( ; die "who" if getppid() < 1; $< = $<; die "am I $<" if $< != '$i' }' & done
wait; echo done`, "done\n")
	if r.Stats.Calls < 100_000 {
		t.Errorf("only %d calls were handed over", r.Stats.Calls)
	}
}

func TestKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	shell(t, order{}, `
for i in $(seq 20); do
	for j in 1 2 3 4; do (while :; do stat . > /dev/null; : > f$j; chown 1:1 f$j; done) 2>/dev/null & pids="$pids $!"; done
	sleep 0.05; kill -9 $pids; wait 2>/dev/null; pids=
done 2>/dev/null
touch last; chown 3:4 last; stat -c %u:%g last`, "3:4\n")
}

// TestChurn makes many processes, whose ids come round again or not: each must be who its parent was.
func TestChurn(t *testing.T) {
	t.Parallel()
	shell(t, order{}, `
for u in 11 12 13; do setpriv --reuid=$u --clear-groups sh -c 'for i in $(seq 100); do (: ; :) & (id -u); done; wait' & done > ids; wait
sort ids | uniq -c | awk '{print $1, $2}'`, "100 11\n100 12\n100 13\n")
}

// TestLeftBehind stops to serve while a process lives: its calls fail, the supervisor is gone.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	o := order{Kill: true}
	shell(t, o, "(sleep 2; id -u) >/dev/null 2>&1 </dev/null & echo first", "first\n")
}

// TestSaved carries owners over to a copy of the tree, as for a cache mount.
func TestSaved(t *testing.T) {
	t.Parallel()
	name := "\ufffd odd\nname" // as JSON carries \xff to us
	first := shell(t, order{}, `
mkdir d; : > d/f; chown 5:6 d/f; chmod 4711 d/f; mknod d/dev b 7 8; cp /bin/true d/prog; setcap cap_chown+ep d/prog; ln -s x d/l; chown -h 9:9 d/l; mkdir -m 500 d/r
: > "$(printf '\377 odd\nname')"; chown 77:78 "$(printf '\377 odd\nname')"; : > plain`, "")
	copied := workDir(t, builderID)
	out, err := exec.Command("cp", "-a", "--no-preserve=xattr", first.Dir+"/.", copied).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Remove(filepath.Join(copied, "plain")); err != nil {
		t.Fatal(err)
	}
	second := shell(t, order{Dir: copied, Load: first.Saved}, "getcap d/prog", "d/prog cap_chown=ep\n")
	var want []string
	for _, line := range first.Tree {
		if !strings.HasPrefix(line, "plain") {
			want = append(want, line)
		}
	}
	if d := cmp.Diff(want, second.Tree); d != "" {
		t.Errorf("tree (-first +second):\n%s", d)
	}
	if !strings.Contains(strings.Join(second.Tree, "\n"), name+" 0100644 77:78") {
		t.Error("the odd name has lost its owner")
	}
}

// TestSymlinkOut loads owners into a tree in which a directory has become a symlink.
func TestSymlinkOut(t *testing.T) {
	t.Parallel()
	dir, other := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "f"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, filepath.Join(dir, "d")); err != nil {
		t.Fatal(err)
	}
	r := NewRecord()
	for _, path := range []string{"ZC9m", "Li4vMDAyL2Y=", "L2V0Yy9wYXNzd2Q="} { // d/f, ../002/f, /etc/passwd
		if err := r.LoadTree(dir, strings.NewReader(`{"path":"`+path+`","uid":5}`)); err != nil && !strings.Contains(err.Error(), "invalid cross-device link") {
			t.Error(err)
		}
	}
	if r.Len() != 0 {
		t.Error("something outside was recorded")
	}
	if err := r.LoadTree(dir, strings.NewReader("garbage")); err == nil {
		t.Error("garbage was taken")
	}
}
