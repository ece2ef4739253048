package config

import (
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write docs/configuration.md anew")

func TestReferenceIsUpToDate(t *testing.T) {
	const file = "../../docs/configuration.md"
	want := Reference()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/configuration.md is not what the code says: run go test ./internal/config -run Reference -update")
	}
}

func TestEverySettingHasItsMeaning(t *testing.T) {
	_, values, err := Load(Sources{Lookup: none})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		if v.Doc == "" {
			t.Errorf("%s has no doc tag", v.Key)
		}
	}
}
