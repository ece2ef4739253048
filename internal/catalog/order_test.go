package catalog

import "testing"

// A directory walk and the order of bytes disagree on these keys.
func TestOddKeysDoNotUpsetTheMerge(t *testing.T) {
	w := newWorld(t)
	for _, key := range []string{"class_03/a.png", "class_03-x/a.png", "class_03.txt", "class_03 old/b.png", "class_030/a.png", "class_03/A.png", "class_03/ä.png", "class_03/deep/a.png"} {
		w.put(w.buckets.Production, key, old(5))
	}
	c := New(w.store, w.ledger, w.buckets, w.options())
	for range 2 {
		if r := reconcile(t, c); r.Production.Listed != 8 || r.Production.Vanished != 0 {
			t.Errorf("%+v", r)
		}
	}
}
