package labelling

import (
	"fmt"
	"testing"
)

func TestWhatIsRememberedOfAnnotatorsIsBounded(t *testing.T) {
	lists := map[string][]string{}
	for i := range 3 * maxNames {
		name := fmt.Sprint("annotator ", i)
		note(lists, name, "a.png")
		if got := lists[name]; len(got) != 1 || len(lists) > maxNames {
			t.Fatalf("after %d names: %d are held, the newest has %v", i+1, len(lists), got)
		}
	}
}
