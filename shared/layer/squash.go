package layer

// Squash makes one changeset of several, the first at the bottom: what it says
// is what they say one after the other.
func Squash(tables ...*Table) *Table {
	out := NewTable()
	for _, t := range tables {
		squash(out.Root, t.Root)
	}
	return out.Seal()
}

// squash lays the directory from over the directory onto.
func squash(onto, from *Node) {
	if from.Inode != nil {
		onto.Inode = from.Inode
	}
	if from.Opaque {
		onto.Opaque = true
		onto.DeleteAll()
	}
	for _, c := range from.Children() {
		old := onto.Child(c.Name)
		switch {
		case !c.IsDir():
			onto.Set(&Node{Name: c.Name, Inode: c.Inode, Whiteout: c.Whiteout})
		case old != nil && old.IsDir():
			squash(old, c)
		default:
			// A directory over a whiteout or a file hides what is below both.
			n := &Node{Name: c.Name, Opaque: old != nil}
			onto.Set(n)
			squash(n, c)
		}
	}
}
