package run_test

import (
	"strings"
	"testing"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/tree"
)

func TestUsers(t *testing.T) {
	passwd := "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n123:x:500:501::/trap:/bin/sh\nnohome:x:7:7:::\n" +
		"huge:x:4294967296:0::/:/bin/sh\nminus:x:-1:0::/:/bin/sh\nhugegroup:x:8:4294967296::/:\n:x:9:9::/:\nshort:x\nword:x:abc:def::/:\n"
	group := "root:x:0:\nstaff:x:50:app,root\nwheel:x:10:root\nextra:x:60:app\n456:x:600:\nbad:x:4294967297:member\n"
	passwd += "member:x:77:77::/:\n"
	files := []string{"etc/passwd=" + passwd, "etc/group=" + group}
	const who = `exec 2>/dev/null; echo $(id -u) $(id -g) $(id -G) $HOME`
	users := map[string]string{
		"":              "0 0 0 10 50 /root",
		"root":          "0 0 0 10 50 /root",
		"0":             "0 0 0 10 50 /root",
		"0:0":           "0 0 0 /root",
		"root:root":     "0 0 0 /root",
		"app":           "1000 1001 1001 50 60 /home/app",
		"1000":          "1000 1001 1001 50 60 /home/app",
		"app:staff":     "1000 50 50 /home/app",
		"app:10":        "1000 10 10 /home/app",
		"1000:staff":    "1000 50 50 /home/app",
		"1000:1000":     "1000 1000 1000 /home/app",
		"4242":          "4242 0 0 /",
		"4242:4343":     "4242 4343 4343 /",
		"123":           "123 0 0 /", // a number is an id, whatever names there are
		"app:456":       "1000 456 456 /home/app",
		"nohome":        "7 7 7 /",
		":staff":        "0 50 50 /root",
		"app:":          "1000 1001 1001 50 60 /home/app",
		"word":          "0 0 0 /root", // as everywhere: what is no number is 0
		"4294967294:1":  "4294967294 1 1 /",
		"nobody":        "unable to find user nobody",
		"app:nogroup":   "unable to find group nogroup",
		"4294967296":    "must be in range",
		"99999999999:0": "must be in range",
		"huge":          "4294967296 is no id",
		"minus":         "-1 is no id",
		"hugegroup":     "4294967296 is no id",
		"member":        "4294967297 is no id",
	}
	overBoth(t, func(t *testing.T, b *bed) {
		b = b.with(files...)
		for spec, want := range users {
			r := b.run(t.Context(), step(who, func(op *graph.Exec) { op.User = spec }))
			if r.err != nil && !strings.Contains(r.err.Error(), want) || r.err == nil && r.out != want+"\n" {
				t.Errorf("USER %s: %q, %v; want %s", spec, r.out, r.err, want)
			}
		}
	})
}

// TestUserFiles has images without sensible /etc/passwd.
func TestUserFiles(t *testing.T) {
	overBoth(t, func(t *testing.T, b *bed) {
		const who = `echo $(id -u) $(id -g) $HOME`
		user := func(u string) *graph.Exec { return step(who, func(op *graph.Exec) { op.User = u }) }
		none := b.with("-etc/passwd", "-etc/group")
		for u, want := range map[string]string{"": "0 0 /", "root:root": "0 0 /", "5": "5 0 /", "5:6": "5 6 /"} {
			none.run(t.Context(), user(u)).want(t, want+"\n")
		}
		if r := none.run(t.Context(), user("root")); r.err == nil {
			t.Error("a name was found where there are none")
		}
		for _, files := range [][]string{{"etc/passwd/", "etc/group/"}, {"etc/passwd->../../../../../../etc/shadow"}, {"etc/passwd->passwd"}, {"-etc", "etc=file"}} {
			b.with(files...).run(t.Context(), step("echo $HOME", func(op *graph.Exec) { op.User = "5:6" }))
		}
		// The image decides over its size.
		huge := layer.NewTable()
		huge.Make("etc/passwd").Inode = &layer.Inode{Kind: layer.Regular, Mode: 0o644, Size: 1 << 40, ModTime: old, Content: layer.Bytes("")}
		big := *b
		big.base = tree.Of(append(b.base.Layers(), b.Workspace.FromTable(huge.Seal()))...)
		if _, err := big.Run(t.Context(), user("app"), []tree.Tree{big.base}, nil, nil); err == nil || !strings.Contains(err.Error(), "limit") {
			t.Errorf("a huge /etc/passwd: %v", err)
		}
	})
}
