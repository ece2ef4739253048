package alerts

import (
	"fmt"

	"github.com/goccy/go-yaml"
)

// Shipped names the groups of rules.yml, each with its alerts and recorded
// series in order. An alert of several severities is there more than once.
func Shipped() (map[string][]string, error) {
	text, err := Files.ReadFile("rules.yml")
	if err != nil {
		return nil, fmt.Errorf("alerts: read rules: %w", err)
	}
	var file struct {
		Groups []struct {
			Name  string `yaml:"name"`
			Rules []struct {
				Record string `yaml:"record"`
				Alert  string `yaml:"alert"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("alerts: read rules: %w", err)
	}
	groups := map[string][]string{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			groups[g.Name] = append(groups[g.Name], r.Record+r.Alert)
		}
	}
	return groups, nil
}
