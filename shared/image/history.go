package image

import (
	"reflect"
	"slices"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strake-build/strake/shared/layer"
)

// comment marks the history rows that no instruction stands behind.
const comment = "strake.image.v0"

// history makes the config's rows tell of exactly these layers, with a time
// for each. The rules are those of BuildKit's image exporter.
func history(s Spec, rows, base []ocispecs.History) []ocispecs.History {
	rows = matchLayers(rows, s.Layers)
	fillTimes(rows, s.now())
	for i := baseRows(rows, base); i < len(rows); i++ {
		rows[i].Created = new(s.settle(*rows[i].Created))
	}
	return rows
}

// matchLayers pairs rows and layers in order and dates the rows by them. Rows
// for which no layer is left are marked empty; for layers without a row, one
// is added.
func matchLayers(rows []ocispecs.History, layers []*layer.Blob) []ocispecs.History {
	rows = append([]ocispecs.History{}, rows...) // never null in JSON
	next := 0
	for i := range rows {
		r := &rows[i]
		if r.EmptyLayer {
			continue
		}
		if next == len(layers) {
			r.EmptyLayer = true
			continue
		}
		if r.Created == nil {
			r.Created = madeAt(layers[next])
		}
		next++
	}
	for _, b := range layers[next:] {
		rows = append(rows, ocispecs.History{Created: madeAt(b), Comment: comment})
	}
	return rows
}

func madeAt(b *layer.Blob) *time.Time {
	if b.Created.IsZero() {
		return nil
	}
	return new(b.Created.UTC())
}

// fillTimes dates the rows that have no time. The first of them take the time
// of the first dated row after them, because a metadata instruction ahead of
// the first new layer belongs to this build, not to the base's; all others
// take that of the row before.
func fillTimes(rows []ocispecs.History, fallback time.Time) {
	undated := func(r ocispecs.History) bool { return r.Created == nil }
	gap := slices.IndexFunc(rows, undated)
	if gap < 0 {
		return
	}
	t := &fallback
	if gap > 0 {
		t = rows[gap-1].Created
	}
	if i := slices.IndexFunc(rows[gap:], func(r ocispecs.History) bool { return !undated(r) }); i >= 0 {
		t = rows[gap+i].Created
	}
	for i := range rows[gap:] {
		if r := &rows[gap+i]; r.Created == nil {
			r.Created = new(*t)
		} else {
			t = r.Created
		}
	}
}

// baseRows counts the leading rows that are the base's own, times and all.
func baseRows(rows, base []ocispecs.History) int {
	n := 0
	for n < len(rows) && n < len(base) && sameRow(rows[n], base[n]) {
		n++
	}
	return n
}

func sameRow(a, b ocispecs.History) bool {
	if a.Created == nil || b.Created == nil || !a.Created.Equal(*b.Created) {
		return false
	}
	a.Created, b.Created = nil, nil
	return reflect.DeepEqual(a, b)
}

// now is the time of what nothing else dates.
func (s *Spec) now() time.Time {
	if s.Now.IsZero() {
		return time.Unix(0, 0).UTC()
	}
	return s.Now.UTC()
}

// settle is the time that the image may say instead of t.
func (s *Spec) settle(t time.Time) time.Time {
	switch {
	case s.Epoch == nil && s.Reproducible:
		return time.Unix(0, 0).UTC()
	case s.Epoch != nil && (s.Reproducible || t.After(*s.Epoch)):
		return s.Epoch.UTC()
	}
	return t
}
