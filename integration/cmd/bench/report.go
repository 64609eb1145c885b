package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// report prints the medians of the first builder, and of each other one as a multiple of it.
func report(w io.Writer, res results, builders []builder, runs int) {
	if len(res.workloads) == 0 || len(builders) == 0 {
		return
	}
	first := builders[0].name()
	for _, remote := range []bool{false, true} {
		last, unit := "image", "image MiB"
		if remote {
			last, unit = "requests", "requests"
		}
		head := []string{"work", first + ": wall s", "cpu s", "peak MiB", unit}
		for _, b := range builders[1:] {
			head = append(head, b.name()+": wall", "cpu", "peak", last)
		}
		if !slices.ContainsFunc(res.workloads, func(work workload) bool { return work.remote == remote }) {
			continue
		}
		fmt.Fprintf(w, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat(" --- |", len(head)))
		for _, work := range res.workloads {
			if work.remote == remote {
				row(w, work, res.samples[work.name], builders)
			}
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "Medians of %d runs; the other builders' figures are multiples of %s's.\n", runs, first)
	overhead(w, res, builders)
}

func row(w io.Writer, work workload, samples map[string][]sample, builders []builder) {
	own, ok := median(samples[builders[0].name()])
	if !ok {
		return
	}
	cells := []string{work.about, fmt.Sprintf("%.2f", own.wall), fmt.Sprintf("%.2f", own.cpu), fmt.Sprint(own.peak >> 20), fmt.Sprint(own.size >> 20)}
	if work.remote {
		cells[len(cells)-1] = fmt.Sprint(own.asked)
	}
	for _, b := range builders[1:] {
		m, ok := median(samples[b.name()])
		if !ok {
			cells = append(cells, "", "", "", "")
			continue
		}
		cells = append(cells, times(m.wall, own.wall), times(m.cpu, own.cpu), times(float64(m.peak), float64(own.peak)), times(float64(m.size), float64(own.size)))
		if work.remote {
			cells[len(cells)-1] = fmt.Sprint(m.asked)
		}
	}
	fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
}

func times(other, own float64) string {
	if own == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f×", other/own)
}

// overhead tells what a RUN step costs beyond what it runs, which is next to nothing here: twenty steps against one.
func overhead(w io.Writer, res results, builders []builder) {
	for _, b := range builders {
		one, ok1 := median(res.samples["run1"][b.name()])
		twenty, ok20 := median(res.samples["run20"][b.name()])
		if ok1 && ok20 {
			fmt.Fprintf(w, "%s: %.1f ms per small RUN step.\n", b.name(), (twenty.wall-one.wall)/19*1000)
		}
	}
}

// median takes each figure's median by itself.
func median(samples []sample) (sample, bool) {
	if len(samples) == 0 {
		return sample{}, false
	}
	var wall, cpu []float64
	var peak, size, asked []int64
	for _, s := range samples {
		wall, cpu = append(wall, s.wall), append(cpu, s.cpu)
		peak, size = append(peak, s.peak), append(size, s.size)
		asked = append(asked, s.asked)
	}
	slices.Sort(wall)
	slices.Sort(cpu)
	slices.Sort(peak)
	slices.Sort(size)
	slices.Sort(asked)
	mid := len(samples) / 2
	return sample{wall[mid], cpu[mid], peak[mid], size[mid], asked[mid]}, true
}
