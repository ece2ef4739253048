package experiment

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	dg "driftgate"
)

// Order is how records are sorted: by a field, upwards or downwards; records
// without a value come last either way, and equals stay the latest first. Its
// zero value is the latest first.
type Order struct {
	by   Field
	down bool
}

// ParseOrder reads "metrics.test_accuracy" for upwards or, with "-" before it,
// for downwards; empty is the latest first. The error is [driftgate.ErrInvalid].
func ParseOrder(s string) (Order, error) {
	if s == "" {
		return Order{}, nil
	}
	name, down := strings.CutPrefix(s, "-")
	f, err := ParseField(name)
	if err != nil {
		return Order{}, fmt.Errorf("experiment: sort: %w", err)
	}
	if (Order{f, down} == Order{Field{"", "started"}, true}) {
		return Order{}, nil
	}
	return Order{f, down}, nil
}

// String is the order as [ParseOrder] reads it.
func (o Order) String() string {
	switch {
	case o == Order{}:
		return "-started"
	case o.down:
		return "-" + o.by.String()
	}
	return o.by.String()
}

// Turned is the order that a click on the head of f's column asks for: downwards
// for figures and times first, upwards for texts, then the other way.
func (o Order) Turned(f Field) Order {
	down := f.Numeric() || f.name == "started" || f.name == "finished"
	next := Order{f, down}
	if (o == Order{} && f == Field{"", "started"}) || o == next {
		next.down = !next.down
	}
	return next
}

// By reports whether records are sorted by f, and which way.
func (o Order) By(f Field) (by, down bool) {
	if (o == Order{}) {
		return f == Field{"", "started"}, true
	}
	return o.by == f, o.down
}

// place is where a record stands in an order; it travels in a page's cursor.
type place struct {
	Known   bool      `json:"k,omitempty"`
	Number  float64   `json:"n,omitempty"`
	IsNum   bool      `json:"i,omitempty"`
	Text    string    `json:"t,omitempty"`
	Started time.Time `json:"s"`
	ID      string    `json:"d"`
}

// maxPlace bounds the text, in bytes, that records are ordered by: it travels in
// a link.
const maxPlace = 200

func (o Order) place(r *Record) place {
	p := place{Started: r.StartedAt.UTC(), ID: r.ID}
	if (o != Order{}) {
		v := o.by.of(r)
		p.Known, p.Number, p.IsNum = v.known, v.number, v.isNum
		if v.known && !v.isNum {
			p.Text = strings.ToValidUTF8(v.text[:min(len(v.text), maxPlace)], "")
		}
	}
	return p
}

// compare is under 0 when a stands before b. Numbers stand before texts.
func (o Order) compare(a, b place) int {
	if a.Known != b.Known {
		if a.Known {
			return -1
		}
		return 1
	}
	var c int
	switch {
	case a.IsNum && b.IsNum:
		c = cmp.Compare(a.Number, b.Number)
	case a.IsNum != b.IsNum:
		c = 1
		if a.IsNum {
			c = -1
		}
	default:
		c = cmp.Compare(a.Text, b.Text)
	}
	if o.down {
		c = -c
	}
	return cmp.Or(c, b.Started.Compare(a.Started), cmp.Compare(b.ID, a.ID))
}

// cursor writes a place as text for a link.
func (p place) cursor() string {
	b, err := json.Marshal(p)
	if err != nil {
		return "" // a place has no value that JSON lacks
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCursor(s string) (p place, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil || p.ID == "" {
		return p, fmt.Errorf("experiment: after %.40q: want what the page before said as next: %w", s, dg.ErrInvalid)
	}
	return p, nil
}
