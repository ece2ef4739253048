package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"driftgate/evaluator"
)

func TestGatePrintsWhatHolds(t *testing.T) {
	dir := t.TempDir()
	_, text, _ := drive(t, "gate", "--set", "gate.min_pairs=250")
	path := filepath.Join(dir, "gate.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"the keys":                     {"gate", "--set", "gate.min_pairs=250"},
		"what was printed, as a file":  {"gate", "--file", path},
		"what was printed, configured": {"gate", "--set", "gate.file=" + path},
	} {
		code, out, stderr := drive(t, append(args, "--format", "json")...)
		var g evaluator.Gate
		if err := json.Unmarshal([]byte(out), &g); code != exitDone || err != nil {
			t.Fatalf("%s: exit code %d, %v: %s", name, code, err, stderr)
		}
		if want := (evaluator.Gate{MinPairs: 250}).WithDefaults(); !reflect.DeepEqual(g, want) {
			t.Errorf("%s: %+v, want %+v", name, g, want)
		}
	}
}

func TestGateRefusesADocumentWithMistakes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gate.yml")
	if err := os.WriteFile(path, []byte("margin: 3\nflors: {class: 0.5}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"gate", "--file", path}, {"gate", "--set", "gate.file=" + path}} {
		code, _, stderr := drive(t, args...)
		if code != exitUsage || !strings.Contains(stderr, path+":1: margin") || !strings.Contains(stderr, path+":2: unknown key flors") {
			t.Errorf("%q: exit code %d: %s", args, code, stderr)
		}
	}
}
