package app

import (
	"reflect"
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
