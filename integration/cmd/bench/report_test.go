package main

import (
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	got, ok := median([]sample{{3, 1, 5, 2, 7}, {1, 9, 1, 2, 8}, {2, 5, 9, 2, 9}})
	if want := (sample{2, 5, 5, 2, 8}); !ok || got != want {
		t.Errorf("median is %v, not %v", got, want)
	}
	if _, ok := median(nil); ok {
		t.Error("nothing has a median")
	}
}

func TestReportShowsRatios(t *testing.T) {
	work := []workload{{name: "run1", about: "work"}, {name: "remote", about: "again", remote: true}}
	res := results{workloads: work, samples: map[string]map[string][]sample{
		"run1":   {"strake": {{2, 1, 10 << 20, 4 << 20, 0}}, "buildah": {{5, 3, 5 << 20, 6 << 20, 0}}},
		"remote": {"strake": {{1, 1, 1 << 20, 0, 28}}, "buildah": {{3, 1, 1 << 20, 0, 40}}},
	}}
	var b strings.Builder
	report(&b, res, []builder{&strake{}, &buildah{}}, 1)
	for _, want := range []string{
		"| work | 2.00 | 1.00 | 10 | 4 | 2.50× | 3.00× | 0.50× | 1.50× |",
		"| again | 1.00 | 1.00 | 1 | 28 | 3.00× | 1.00× | 1.00× | 40 |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("report lacks %q:\n%s", want, b.String())
		}
	}
}
