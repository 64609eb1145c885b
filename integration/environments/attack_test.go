package environments

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// attacks are Dockerfiles that mean no good, with what a step of theirs must or must not print, and what the error says
// where the build must fail. After each of them the container builds as before.
var attacks = []struct {
	name, dockerfile string
	prints, hides    string
	fails            string // "-" where it is no matter
}{
	{
		name: "reads", prints: "nothing more", hides: "c2VjcmV0",
		dockerfile: `FROM toolbox
RUN cat /kaniko/.docker/config.json /root/.docker/config.json; for p in /proc/[0-9]*; do cat $p/environ | tr '\0' '\n' | grep CANARY; cat $p/maps $p/mem | head -c 1 && [ $p != /proc/$$ ] && [ $p != /proc/self ] && readlink $p/exe | grep executor; done; echo nothing more
`,
	},
	{
		name: "removes the builder", fails: "changed the builder's own files",
		dockerfile: "FROM toolbox\nRUN rm -rf /kaniko/* /kaniko/.d*; echo evil > /kaniko/executor; chmod 755 /kaniko/executor\n",
	},
	{
		name: "replaces it by an image", fails: "-",
		dockerfile: "FROM toolbox AS evil\nRUN mkdir /evil && echo '#!/bin/sh' > /evil/executor\nFROM toolbox\nCOPY --from=evil /evil /kaniko\nONBUILD RUN rm -rf /kaniko\nRUN true\n",
	},
	{
		name: "leads out by links", fails: "-",
		dockerfile: "FROM toolbox\nRUN rm -rf /srv /media && ln -s /proc/1/root /srv && ln -s ../../../../../../kaniko /media\nWORKDIR /srv/here\nCOPY Dockerfile /media/executor\nRUN true\n",
	},
	{
		name: "links where the runtime mounts", fails: "-",
		dockerfile: "FROM toolbox\nRUN --mount=type=tmpfs,target=/mnt/t rm -rf /dev/shm/x /run/x; ln -sf /workspace/Dockerfile /etc/hosts; ln -s /kaniko /mnt/x\nRUN --mount=type=cache,target=/mnt/x/c echo evil > /mnt/x/c/f; true\n",
	},
	{
		name: "stays behind", prints: "left",
		dockerfile: "FROM toolbox\nRUN (setsid sh -c 'while :; do echo evil > /kaniko/executor; touch /srv/late; done' >/dev/null 2>&1 &) ; (sleep 1234 &) ; echo left\nRUN sleep 1; ps ax | grep -c '[s]leep 1234' | grep '^0$'; ! [ -e /srv/later ]\n", fails: "-",
	},
	{
		name: "floods", prints: "flooded",
		dockerfile: `FROM toolbox
RUN for i in 1 2 3 4 5 6 7 8; do (i=0; while [ $i -lt 20000 ]; do [ -e /nosuch ]; i=$((i+1)); done) & done; wait; kill -9 -1 2>/dev/null; echo flooded
`,
		fails: "-",
	},
	{
		name: "traces the builder", prints: "refused",
		dockerfile: `FROM toolbox
RUN python3 -c 'import ctypes,os; c=ctypes.CDLL(None,use_errno=True); print("attached" if c.ptrace(16,os.getppid(),0,0)==0 else "refused")' || echo refused
`,
	},
}

// TestAttacks builds what means no good, and afterwards something that does, in the same container.
func TestAttacks(t *testing.T) {
	officially(t, func(t *testing.T, env Environment) {
		c, command := scripted(t, env)
		dir := filepath.Join(c.dir, "context")
		login := filepath.Join(dir, "login.json")
		if err := os.WriteFile(login, []byte(`{"auths":{"registry.example":{"auth":"c2VjcmV0OmNhbmFyeQ=="}}}`), 0o644); err != nil {
			t.Fatal(err)
		}
		for i, a := range attacks {
			name := filepath.Join(dir, "attack.Dockerfile")
			if err := os.WriteFile(name, []byte(a.dockerfile), 0o644); err != nil {
				t.Fatal(err)
			}
			attack := strings.Replace(command(""), "/workspace/Dockerfile", "/workspace/attack.Dockerfile", 1)
			script := "cp /workspace/login.json /kaniko/.docker/config.json; " + attack
			run, err := c.Run(t.Context(), []string{"/busybox/sh", "-c", script}, "BUILDER_CANARY=c2VjcmV0")
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case a.fails == "-":
			case a.fails == "" && run.Code != 0, a.fails != "" && (run.Code == 0 || env.Official.View == "inplace" && !strings.Contains(run.Stderr, a.fails)):
				t.Errorf("%s: ended with %d:\n%s", a.name, run.Code, lastLines(run.Stderr, 30))
			}
			if a.prints != "" && !strings.Contains(run.Stderr, " "+a.prints+"\n") || a.hides != "" && strings.Contains(run.Stderr, a.hides) {
				t.Errorf("%s: it printed\n%s", a.name, lastLines(run.Stderr, 30))
			}
			if strings.Contains(run.Stderr, "panic:") || run.Code == 70 && a.fails == "" {
				t.Errorf("%s: ended with %d:\n%s", a.name, run.Code, lastLines(run.Stderr, 30))
			}
			if i%3 != 2 && i != len(attacks)-1 {
				continue
			}
			if run, err := c.Run(t.Context(), []string{"/busybox/sh", "-c", command("")}); err != nil || run.Code != 0 {
				t.Fatalf("after %s, the container builds no more: %v, %d\n%s", a.name, err, run.Code, lastLines(run.Stderr, 30))
			}
		}
	})
}
