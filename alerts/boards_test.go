package alerts_test

import (
	"encoding/json"
	"regexp"
	"testing"

	"driftgate/alerts"
)

var boardLink = regexp.MustCompile(`dashboard_url: "[^"?]+/([a-z-]+)(\?var-model=)?`)

func TestEveryAlertLinksToADashboardThatShips(t *testing.T) {
	rules, err := alerts.Files.ReadFile("rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	shipped := map[string]bool{} // uid: has it a variable model?
	for name, body := range boards(t) {
		var b struct {
			UID        string
			Templating struct{ List []struct{ Name string } }
		}
		if err := json.Unmarshal(body, &b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		shipped[b.UID] = false
		for _, v := range b.Templating.List {
			shipped[b.UID] = shipped[b.UID] || v.Name == "model"
		}
	}
	links := boardLink.FindAllStringSubmatch(string(rules), -1)
	if len(links) < 13 {
		t.Fatalf("found %d links to dashboards", len(links))
	}
	for _, l := range links {
		model, ok := shipped[l[1]]
		if !ok || l[2] != "" && !model {
			t.Errorf("%s leads to no dashboard of %v, or to one without the variable model", l[0], shipped)
		}
	}
}
