package config

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRelativeSourcesLieBesideTheGate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sub", "gate.yml")
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	text := "suites:\n  - {name: a, source: ./here}\n  - {name: b, source: ../there/x}\n  - {name: c, source: datasets/look-alikes/}\n  - {name: d, source: /srv/images}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, name := range []string{path, "sub/gate.yml"} {
		g, err := ReadGate(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{filepath.Join(dir, "sub", "here"), filepath.Join(dir, "there", "x"), "datasets/look-alikes/", "/srv/images"} {
			if got := g.Suites[i].Source; got != want {
				t.Errorf("%s: source of %s is %s, want %s", name, g.Suites[i].Name, got, want)
			}
		}
	}
}
