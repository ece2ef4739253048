package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var (
	fenced  = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")
	comment = regexp.MustCompile(`\s+#.*$`)
)

func TestEveryCommandOfTheFirstPagesExists(t *testing.T) {
	for page, least := range map[string]int{"../../README.md": 8, "../../docs/getting-started.md": 20, "../../docs/deployment.md": 2} {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, block := range fenced.FindAllStringSubmatch(string(b), -1) {
			for line := range strings.Lines(block[1]) {
				line, _, _ = strings.Cut(comment.ReplaceAllString(strings.TrimSpace(line), ""), " | ")
				line = strings.TrimPrefix(line, "./bin/")
				if !strings.HasPrefix(line, "driftgate ") {
					continue
				}
				found++
				if why := wrong(line); why != "" {
					t.Errorf("%s: %s: %s", page, line, why)
				}
			}
		}
		if found < least {
			t.Errorf("%s: %d commands found, want at least %d: the test proves little", page, found, least)
		}
	}
}
