package graph

import "bytes"

// Line is a line of a file, as shown beside an error.
type Line struct {
	Number int // from 1
	Text   string
	Marked bool // in the range that is spoken of
}

// Excerpt gives the lines of the position and up to around lines before and
// after them. It is empty when the file does not have the position.
func (p Position) Excerpt(around int) []Line {
	if p.File == nil || p.Start < 1 {
		return nil
	}
	all := bytes.Split(bytes.TrimSuffix(p.File.Data, []byte("\n")), []byte("\n"))
	end := max(p.Start, p.End)
	first, last := max(p.Start-around, 1), min(end+around, len(all))
	var lines []Line
	for n := first; n <= last && p.Start <= len(all); n++ {
		lines = append(lines, Line{
			Number: n,
			Text:   string(bytes.TrimSuffix(all[n-1], []byte("\r"))),
			Marked: n >= p.Start && n <= end,
		})
	}
	return lines
}
