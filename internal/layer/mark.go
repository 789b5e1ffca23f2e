package layer

import "text/template/parse"

// mark makes every text of the parsed trees a stretch of one copy of the source,
// and puts an empty stretch before every other node that writes or decides: who
// writes can be told from what is written, and no loop goes unnoticed. A call of a
// function in their place would cost ten times as much.
func (t *Template) mark() {
	t.copied = append([]byte(t.src), 0) // the last position begins a stretch as well
	for _, tree := range t.trees {
		t.markList(tree.Root)
	}
}

func (t *Template) markList(l *parse.ListNode) {
	if l == nil {
		return
	}
	others := 0
	for _, n := range l.Nodes {
		switch n := n.(type) {
		case *parse.TextNode: // the parser's text is the source's, from its position on
			n.Text = t.copied[n.Pos : int(n.Pos)+len(n.Text)]
			continue
		case *parse.IfNode:
			t.markList(n.List)
			t.markList(n.ElseList)
		case *parse.WithNode:
			t.markList(n.List)
			t.markList(n.ElseList)
		case *parse.RangeNode:
			t.markList(n.List)
			t.markList(n.ElseList)
		}
		others++
	}
	if len(l.Nodes) == 0 { // the body of a loop, perhaps
		l.Nodes = append(l.Nodes, &parse.TextNode{NodeType: parse.NodeText, Pos: l.Pos, Text: t.copied[l.Pos:l.Pos]})
	}
	if others == 0 {
		return
	}
	nodes, marks := make([]parse.Node, 0, len(l.Nodes)+others), make([]parse.TextNode, 0, others)
	for _, n := range l.Nodes {
		if n.Type() != parse.NodeText {
			pos := n.Position()
			marks = append(marks, parse.TextNode{NodeType: parse.NodeText, Pos: pos, Text: t.copied[pos:pos]})
			nodes = append(nodes, &marks[len(marks)-1])
		}
		nodes = append(nodes, n)
	}
	l.Nodes = nodes
}

// own returns where in the source p stands, if it is a stretch that mark made: a
// value with the same bytes lies elsewhere.
func (t *Template) own(p []byte) (int, bool) {
	pos := cap(t.copied) - cap(p)
	if cap(p) == 0 || pos < 0 || &p[:1][0] != &t.copied[:cap(t.copied)][pos] {
		return 0, false
	}
	return pos, true
}
