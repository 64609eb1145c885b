package main

import (
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	got, ok := median([]sample{{3, 1, 5, 2}, {1, 9, 1, 2}, {2, 5, 9, 2}})
	if want := (sample{2, 5, 5, 2}); !ok || got != want {
		t.Errorf("median is %v, not %v", got, want)
	}
	if _, ok := median(nil); ok {
		t.Error("nothing has a median")
	}
}

func TestReportShowsRatios(t *testing.T) {
	w := workload{name: "run1", about: "work"}
	res := results{workloads: []workload{w}, samples: map[string]map[string][]sample{
		"run1": {"strake": {{2, 1, 10 << 20, 4 << 20}}, "buildah": {{5, 3, 5 << 20, 6 << 20}}},
	}}
	var b strings.Builder
	report(&b, res, []builder{&strake{}, &buildah{}}, 1)
	if want := "| work | 2.00 | 1.00 | 10 | 4 | 2.50× | 3.00× | 0.50× | 1.50× |"; !strings.Contains(b.String(), want) {
		t.Errorf("report lacks %q:\n%s", want, b.String())
	}
}
