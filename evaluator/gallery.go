package evaluator

// Discord is a way in which two versions and the truth do not agree.
type Discord string

// The kinds of discord.
const (
	OnlyA     Discord = "only_a"     // only the first version is right
	OnlyB     Discord = "only_b"     // only the second is
	BothWrong Discord = "both_wrong" // neither
)

// Discords lists every kind.
var Discords = []Discord{OnlyA, OnlyB, BothWrong}

// Shown is one image of a gallery.
type Shown struct {
	ID      string `json:"id"`
	Suite   string `json:"suite"`
	Bucket  string `json:"bucket,omitempty"` // where the image lies; empty: not an object of its own, ask [Evaluator.Picture]
	Key     string `json:"key,omitempty"`
	Label   string `json:"label"` // the truth
	A       Said   `json:"a"`
	B       Said   `json:"b"`
	Stratum string `json:"stratum,omitempty"` // why it was picked for labelling
}

// Said is one version's answer.
type Said struct {
	Answer     string  `json:"answer"`
	Confidence float64 `json:"confidence"` // 0 to 1
}
