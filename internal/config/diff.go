package config

import (
	"reflect"
	"slices"
)

// Diff returns the keys whose values differ, in the order of the reference.
func Diff(a, b Config) []string {
	var out []string
	others := leavesOf(reflect.ValueOf(&b).Elem(), "")
	for i, f := range leavesOf(reflect.ValueOf(&a).Elem(), "") {
		if !reflect.DeepEqual(f.value.Interface(), others[i].value.Interface()) {
			out = append(out, f.key)
		}
	}
	return out
}

// live are the settings that a running gateway takes over on a reload; all
// others need a restart.
var live = []string{"log.level", "http.rate_per_ip", "http.alerts_token", "http.max_connections", "http.max_connections_per_ip",
	"trigger.cool_down", "trigger.budget_per_day"}

// Live reports whether a change of key takes effect on a reload.
func Live(key string) bool { return slices.Contains(live, key) }

// TakeLive copies the live settings of next to c, and no others.
func TakeLive(c *Config, next Config) {
	others := leavesOf(reflect.ValueOf(&next).Elem(), "")
	for i, f := range leavesOf(reflect.ValueOf(c).Elem(), "") {
		if Live(f.key) {
			f.value.Set(others[i].value)
		}
	}
}
