package trigger

import "crypto/rand"

// fresh is a name that nobody else will choose.
func fresh() string { return rand.Text()[:16] }
