//go:build bench

package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed worker.py
var pytorch string

// peer is a process that computes when told to.
type peer struct {
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	hello reply
}

// start starts a worker; env comes on top of this process's.
func start(ctx context.Context, name string, env []string, command ...string) (*peer, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env, cmd.Stderr = append(os.Environ(), env...), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &peer{name: name, cmd: cmd, in: in, out: bufio.NewReader(out)}
	if p.hello, err = p.ask(request{Op: "hello"}); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

func (p *peer) ask(q request) (reply, error) {
	var r reply
	b, err := json.Marshal(q)
	if err != nil {
		return r, err
	}
	if _, err := p.in.Write(append(b, '\n')); err != nil {
		return r, fmt.Errorf("%s: %s: %w", p.name, q.Op, err)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return r, fmt.Errorf("%s: %s: it ended: %w", p.name, q.Op, err)
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("%s: %s answers %.200q: %w", p.name, q.Op, line, err)
	}
	if r.Error != "" {
		return r, fmt.Errorf("%s: %s: %s", p.name, q.Op, r.Error)
	}
	return r, nil
}

// stop closes the pipe, at which a worker ends.
func (p *peer) stop() {
	p.in.Close()
	late := time.AfterFunc(5*time.Second, func() { _ = p.cmd.Process.Kill() }) // it may have ended
	defer late.Stop()
	_ = p.cmd.Wait() // it has said all that was asked of it
}

// crew starts workers when they are first wanted, and keeps them.
type crew struct {
	ctx    context.Context
	python string
	script string
	blas   []library
	peers  map[string]*peer
}

// library is a matrix library that PyTorch can be started with.
type library struct{ name, folder string }

func (c *crew) golang(threads int) (*peer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return c.get(fmt.Sprintf("Go, %d threads", threads), []string{"GOMAXPROCS=" + strconv.Itoa(threads)}, self, "-worker")
}

func (c *crew) torch(v variant, threads int) (*peer, error) {
	n := strconv.Itoa(threads)
	env := []string{"OMP_NUM_THREADS=" + n, "OPENBLAS_NUM_THREADS=" + n}
	if v.blas.folder != "" {
		env = append(env, "LD_LIBRARY_PATH="+v.blas.folder)
	}
	if v.sleeps {
		env = append(env, "GOMP_SPINCOUNT=0")
	}
	return c.get(fmt.Sprintf("PyTorch, %v, %d threads", v, threads), env, c.python, c.script)
}

func (c *crew) get(name string, env []string, command ...string) (*peer, error) {
	if p := c.peers[name]; p != nil {
		return p, nil
	}
	p, err := start(c.ctx, name, env, command...)
	if err != nil {
		return nil, err
	}
	c.peers[name] = p
	return p, nil
}

func (c *crew) stop() {
	for name, p := range c.peers {
		p.stop()
		delete(c.peers, name)
	}
}

const wantTorch = "install them (Debian: apt-get install python3-torch python3-numpy), or name another interpreter with PYTHON=..."

// newCrew checks that PyTorch is there, with a matrix library that is worth
// measuring against.
func newCrew(ctx context.Context, s settings, dir string) (*crew, error) {
	if out, err := exec.CommandContext(ctx, s.python, "-c", "import torch, numpy").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s cannot import torch and numpy: %s\n%s (%w)", s.python, strings.TrimSpace(string(out)), wantTorch, err)
	}
	script := filepath.Join(dir, "worker.py")
	if err := os.WriteFile(script, []byte(pytorch), 0o644); err != nil {
		return nil, err
	}
	c := &crew{ctx, s.python, script, nil, map[string]*peer{}}
	own, err := c.torch(variant{blas: library{"its own", ""}}, 1)
	if err != nil {
		return nil, err
	}
	defer c.stop()
	// Debian's torch asks for any BLAS, and gets the reference one when there is
	// no other: ten times slower, and no measuring stick.
	if !slices.ContainsFunc(own.hello.Libraries, reference) {
		c.blas = []library{{"its own BLAS", ""}}
	}
	more, err := openBLAS(ctx, s.blas)
	for _, l := range more {
		if !strings.Contains(strings.Join(own.hello.Libraries, " "), l.name) { // else it is its own
			c.blas = append(c.blas, l)
		}
	}
	if len(c.blas) == 0 {
		return nil, err
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: PyTorch is measured with its own BLAS alone:", err)
	}
	return c, nil
}

// reference reports whether a library's path is that of the reference BLAS.
func reference(path string) bool { return strings.HasSuffix(filepath.Dir(path), "/blas") }

// openBLAS finds both forms of OpenBLAS in the system or unpacks Debian's
// packages of them into a folder, changing nothing else.
func openBLAS(ctx context.Context, folder string) ([]library, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	var found []library
	for _, kind := range []string{"openmp", "pthread"} {
		name := "openblas-" + kind
		fetched := filepath.Join(folder, "usr/lib/*", name, "libblas.so.3")
		for _, place := range []string{filepath.Join("/usr/lib/*", name, "libblas.so.3"), fetched, ""} {
			if place == "" {
				fetch := exec.CommandContext(ctx, "sh", "-c", "apt-get download libopenblas0-"+kind+" && dpkg -x libopenblas0-"+kind+"_*.deb .")
				fetch.Dir, place = folder, fetched
				if out, err := fetch.CombinedOutput(); err != nil {
					return found, fmt.Errorf("OpenBLAS cannot be fetched, install it (Debian: apt-get install libopenblas0-%s): %w: %s", kind, err, out)
				}
			}
			if at, _ := filepath.Glob(place); len(at) > 0 { // the pattern is sound
				found = append(found, library{name, filepath.Dir(at[0])})
				break
			}
		}
	}
	return found, nil
}
