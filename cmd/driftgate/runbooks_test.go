package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"driftgate/internal/config"
)

var (
	codeSpan = regexp.MustCompile("`([^`\n]+)`")
	setting  = regexp.MustCompile(`^(alarm|curate|collect|trigger|serving|statsd|s3|gate|metrics|http)\.[a-z_]+$`)
)

// words splits a command as a shell does, as far as the runbooks need it.
func words(line string) (all []string) {
	for _, m := range regexp.MustCompile(`"([^"]*)"|(\S+)`).FindAllStringSubmatch(line, -1) {
		all = append(all, m[1]+m[2])
	}
	return all
}

// wrong says what is wrong with a command line, or nothing.
func wrong(line string) string {
	root := newRoot()
	c, rest, err := root.Find(words(line)[1:])
	switch {
	case err != nil:
		return err.Error()
	case c == root:
		return "no such command"
	}
	help := c.Flags().Lookup("help") == nil && strings.HasSuffix(line, " --help")
	if help {
		rest = rest[:len(rest)-1]
	}
	if err := c.ParseFlags(rest); err != nil {
		return err.Error()
	}
	if help || !c.Runnable() {
		return ""
	}
	if err := c.ValidateArgs(c.Flags().Args()); err != nil {
		return err.Error()
	}
	return ""
}

func TestEveryCommandAndSettingOfTheRunbooksExists(t *testing.T) {
	b, err := os.ReadFile("../../docs/runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	reference := config.Reference()
	commands, settings := 0, 0
	for _, m := range codeSpan.FindAllStringSubmatch(string(b), -1) {
		switch span := m[1]; {
		case strings.HasPrefix(span, "driftgate "):
			commands++
			if why := wrong(span); why != "" {
				t.Errorf("docs/runbooks.md: `%s`: %s", span, why)
			}
		case setting.MatchString(span):
			settings++
			if !strings.Contains(reference, "| `"+span+"` |") {
				t.Errorf("docs/runbooks.md: there is no setting %s", span)
			}
		}
	}
	if commands < 40 || settings < 8 {
		t.Errorf("found %d commands and %d settings: the test proves little", commands, settings)
	}
	for _, bad := range []string{"driftgate restart", "driftgate runs list --pipelines retrain", "driftgate rollback now", "driftgate promote", "driftgate accuracy --window"} {
		if wrong(bad) == "" {
			t.Errorf("`%s` passes", bad)
		}
	}
}
