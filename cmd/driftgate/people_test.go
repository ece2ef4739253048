package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestAGroupOfCommandsRefusesAnUnknownOne(t *testing.T) {
	if code, _, errs := drive(t, "runs", "lsit"); code != exitUsage || !strings.Contains(errs, `driftgate runs has no command "lsit"`) {
		t.Errorf("code %d, said %q", code, errs)
	}
	if code, out, _ := drive(t, "runs"); code != exitDone || !strings.Contains(out, "triggers") {
		t.Errorf("runs alone shows its help: code %d, %q", code, out)
	}
}

func TestPeopleNeedAGatewayAndAPictureAClass(t *testing.T) {
	dir := t.TempDir()
	if code, _, errs := drive(t, "demo", "people", "--dir", dir); code != exitFailed || !strings.Contains(errs, "start driftgate serve") {
		t.Errorf("no gateway: code %d, said %q", code, errs)
	}
	if code, _, errs := drive(t, "demo", "picture", filepath.Join(dir, "x.png"), "--class", "Hat"); code != exitUsage || !strings.Contains(errs, `"Ankle boot"`) {
		t.Errorf("no such class: code %d, said %q", code, errs)
	}
}
