package main

import (
	"bytes"
	"os"
	"testing"
)

func TestTheCommittedDashboardIsWhatTheGeneratorWrites(t *testing.T) {
	want, err := render()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../overview.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("overview.json is not what gen writes: run `make dashboards`")
	}
}
