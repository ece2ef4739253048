package main

import (
	"bytes"
	"os"
	"testing"
)

func TestTheCommittedDashboardsAreWhatTheGeneratorWrites(t *testing.T) {
	for file, build := range boards {
		want, err := render(build())
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile("../" + file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what gen writes: run `make dashboards`", file)
		}
	}
}
