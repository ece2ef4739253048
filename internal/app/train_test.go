package app

import (
	"reflect"
	"strings"
	"testing"

	"driftgate/internal/config"
	"driftgate/trainer"
)

func TestConfiguredTrainingIsTheTrainersOwnUnlessSaidOtherwise(t *testing.T) {
	got, want := (&App{Options: Options{Config: config.Default()}}).trainerOptions(), trainer.DefaultOptions()
	want.Sources = got.Sources // both, which empty means too
	if !reflect.DeepEqual(got, want) {
		t.Errorf("configured %+v\nthe trainer's %+v", got, want)
	}
}

// What the configuration lets through starts a training, and what a training
// takes can be configured.
func TestConfigurationAndTrainerHaveTheSameBounds(t *testing.T) {
	nine, hundred := strings.TrimSuffix(strings.Repeat("8,", 9), ","), strings.TrimSuffix(strings.Repeat("class=Bag,", 101), ",")
	for _, tt := range []struct {
		key  string
		good []string
		bad  []string
	}{
		{"epochs", []string{"1", "100000"}, []string{"0", "100001", "many"}},
		{"batch", []string{"1", "8192"}, []string{"0", "8193"}},
		{"patience", []string{"0", "7"}, []string{"-1"}},
		{"learning_rate", []string{"1e-9", "1e6"}, []string{"0", "2e6", "NaN", "Inf"}},
		{"max_norm", []string{"0", "1e9"}, []string{"-1", "Inf", "+Inf", "NaN", "2e9"}},
		{"momentum", []string{"0", "0.99"}, []string{"1", "-0.1", "NaN"}},
		{"weight_decay", []string{"0", "0.99"}, []string{"1", "-0.1"}},
		{"smoothing", []string{"0", "0.99"}, []string{"1", "-0.1"}},
		{"warmup", []string{"0", "14"}, []string{"15", "-1"}},
		{"hidden", []string{"", "[]", "1", "8192", "8,8,8,8,8,8,8,8", "[8, 8]"}, []string{"0", "8193", nine, "wide"}},
		{"filters", []string{"", "[]", "1", "8,8,8,8,8,8,8,8"}, []string{"0", "8193", nine}},
		{"dense", []string{"", "1", "8192"}, []string{"0", "8193", nine}},
		{"convs", []string{"1", "8"}, []string{"-1", "9"}},
		{"dropout", []string{"0", "0.99"}, []string{"1", "-0.1"}},
		{"width", []string{"0.1", "4"}, []string{"-1", "4.1"}},
		{"human_weight", []string{"1e6", "1"}, []string{"0", "1e7", "Inf", "NaN", "1e-7"}},
		{"proxy_weight", []string{"0", "1e-6", "1"}, []string{"-1", "1e-50", "1e-7", "4", "NaN"}},
		{"class_weights", []string{"", "[]", "Bag=2", "[Bag=2, Coat=1e-6]", "Bag=1e6"}, []string{"Bag", "Bag=0", "Bag=1e-50", "Bag=2e6", "Bag=Inf", "Bag=NaN"}},
		{"augment.shift", []string{"0", "1024"}, []string{"-1", "1025"}},
		{"augment.cutout", []string{"0", "1024"}, []string{"-1", "1025"}},
		{"augment.rotation", []string{"0", "180"}, []string{"-1", "181", "NaN"}},
		{"augment.brightness", []string{"0", "0.99"}, []string{"1", "-0.1"}},
		{"quality.weak", []string{"", "class=Bag", "class=Bag,source=flagged", "confidence=0.00-0.50", "class+source=Bag+flagged"},
			[]string{"shoes", "source=luck", "confidence=0.9-0.1", "class+source=Bag", "class=", hundred}},
		{"quality.weak_factor", []string{"1", "100"}, []string{"101"}},
		{"quality.folds", []string{"0", "2", "20"}, []string{"1", "21"}},
		{"start", []string{"scratch", "warm", "head"}, []string{"cold"}},
		{"replay", []string{"-1", "0", "5"}, []string{"-2"}},
	} {
		configured := func(text string) error {
			_, _, err := config.Load(config.Sources{Lookup: func(string) (string, bool) { return "", false }, Flags: map[string]string{"train." + tt.key: text}})
			return err
		}
		trained := func(text string) error {
			values := map[string]string{tt.key: text}
			if tt.key == "quality.weak_factor" { // looked at beside slices alone
				values["quality.weak"] = "class=Bag"
			}
			raw, err := trainer.Overrides(values)
			if err == nil {
				_, err = trainer.DefaultOptions().Merge(raw)
			}
			return err
		}
		for _, text := range tt.good {
			if err := configured(text); err != nil {
				t.Errorf("%s=%.40s: the configuration refuses it: %v", tt.key, text, err)
			}
			if err := trained(text); err != nil {
				t.Errorf("%s=%.40s: the trainer refuses it: %v", tt.key, text, err)
			}
		}
		for _, text := range tt.bad {
			if err := configured(text); err == nil || !strings.Contains(err.Error(), "train."+tt.key+": ") {
				t.Errorf("%s=%.40s: the configuration takes it: %v", tt.key, text, err)
			}
			if err := trained(text); err == nil {
				t.Errorf("%s=%.40s: the trainer takes it", tt.key, text)
			}
		}
	}
}
