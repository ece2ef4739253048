package alerts

import (
	"bytes"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const alertmanagerFile = "../deploy/alertmanager.yml"

func TestAlertsAreRoutedToWhomTheyConcern(t *testing.T) {
	amtool := find(t, "amtool")
	runs(t, amtool, "check-config", alertmanagerFile)
	for _, tt := range []struct{ receivers, severity, action string }{
		{"driftgate,pager", "critical", "action=retrain"},
		{"driftgate,people", "warning", "action=retrain"},
		{"pager", "critical", ""},
		{"people", "warning", ""},
		{"people", "info", ""},
	} {
		labels := []string{"service=driftgate", "model=garments", "severity=" + tt.severity}
		if tt.action != "" {
			labels = append(labels, tt.action)
		}
		runs(t, amtool, append([]string{"config", "routes", "test", "--config.file=" + alertmanagerFile, "--verify.receivers=" + tt.receivers}, labels...)...)
	}
	// Another service's alert with the same action is none of the gateway's.
	runs(t, amtool, "config", "routes", "test", "--config.file="+alertmanagerFile, "--verify.receivers=people", "service=other", "action=retrain", "severity=warning")
}

type postedAlert struct {
	Labels map[string]string `json:"labels"`
}

func TestAGatewayThatIsDownSilencesWhatItExplains(t *testing.T) {
	address := alertmanager(t)
	service := func(name string, labels ...string) postedAlert {
		l := map[string]string{"alertname": name, "service": "driftgate", "severity": "critical"}
		for i := 0; i < len(labels); i += 2 {
			l[labels[i]] = labels[i+1]
		}
		return postedAlert{l}
	}
	a, b := []string{"job", "driftgate", "instance", "a"}, []string{"job", "driftgate", "instance", "b"}
	for _, tt := range []struct {
		name   string
		alerts []postedAlert
		quiet  map[string]bool // by alertname and instance
	}{
		{"one of two: only its own alerts are silenced",
			[]postedAlert{service("GatewayDown", a...), service("CaptureSpoolGrowing", a...), service("CaptureSpoolGrowing", b...), service("LabelsStale", "model", "garments")},
			map[string]bool{"CaptureSpoolGrowing a": true}},
		{"all: what is said about models is stale, and one page is enough",
			[]postedAlert{service("GatewayDown", a...), service("GatewayAbsent"), service("LabelsStale", "model", "garments"), {map[string]string{"alertname": "DiskFull", "service": "other"}}},
			map[string]bool{"CaptureSpoolGrowing a": true, "CaptureSpoolGrowing b": true, "GatewayAbsent ": true, "LabelsStale ": true}},
	} {
		post(t, address, tt.alerts)
		for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			got := inhibited(t, address)
			if maps.Equal(got, tt.quiet) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: silenced are %v, want %v", tt.name, got, tt.quiet)
			}
		}
	}
}

var silenceLine = regexp.MustCompile("`(amtool silence [^`]+)`")

func TestTheSilencesOfTheRunbooksSilence(t *testing.T) {
	amtool, address := find(t, "amtool"), alertmanager(t)
	b, err := os.ReadFile("../docs/runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := silenceLine.FindAllStringSubmatch(string(b), -1)
	if len(lines) < 15 {
		t.Fatalf("found %d silences, want one for each alert, query and expire", len(lines))
	}
	id := ""
	for _, m := range lines {
		line := strings.NewReplacer("http://127.0.0.1:9093", address, "WHY", "known", "NAME", "garments", "ADDRESS", "a").Replace(m[1])
		if strings.Contains(line, " expire ") {
			continue
		}
		out, err := exec.Command(amtool, strings.Fields(line)[1:]...).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
		if strings.Contains(line, " add ") {
			id = strings.TrimSpace(string(out))
		}
	}
	runs(t, amtool, "silence", "expire", "--alertmanager.url="+address, id)
}

// alertmanager starts a real one with deploy's inhibitions, which sends nothing
// to anybody, and returns its URL.
func alertmanager(t *testing.T) string {
	t.Helper()
	program := find(t, "alertmanager")
	b, err := os.ReadFile(alertmanagerFile)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := regexp.MustCompile(`(?s)\n    webhook_configs:.*`).ReplaceAll(b, []byte("\n"))
	config := filepath.Join(dir, "alertmanager.yml")
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen := l.Addr().String()
	_ = l.Close()
	var log bytes.Buffer
	cmd := exec.Command(program, "--config.file="+config, "--web.listen-address="+listen, "--cluster.listen-address=", "--storage.path="+dir)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if r, err := http.Get("http://" + listen + "/-/ready"); err == nil {
			_ = r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return "http://" + listen
			}
		}
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			t.Fatalf("Alertmanager is not ready:\n%s", log.Bytes())
		}
	}
}

func post(t *testing.T, address string, alerts []postedAlert) {
	t.Helper()
	body, err := json.Marshal(alerts)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.Post(address+"/api/v2/alerts", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Fatalf("post alerts: %s", r.Status)
	}
}

// inhibited are the alerts that others silence, by alertname and instance.
func inhibited(t *testing.T, address string) map[string]bool {
	t.Helper()
	r, err := http.Get(address + "/api/v2/alerts")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var all []struct {
		Labels map[string]string `json:"labels"`
		Status struct {
			InhibitedBy []string `json:"inhibitedBy"`
		} `json:"status"`
	}
	if err := json.NewDecoder(r.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	quiet := map[string]bool{}
	for _, a := range all {
		if len(a.Status.InhibitedBy) > 0 {
			quiet[a.Labels["alertname"]+" "+a.Labels["instance"]] = true
		}
	}
	return quiet
}
