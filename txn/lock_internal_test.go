package txn

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// No two lists of up to eight pieces have one hash, whatever of the pieces looks like a length.
func TestKeysDiffer(t *testing.T) {
	t.Parallel()
	pieces := []string{"a", "1:", "3:", "/"}
	seen := map[int64][]string{}
	var try func(parts []string, left int)
	try = func(parts []string, left int) {
		k := keyOf(parts)
		if other, ok := seen[k.id]; ok {
			require.Equal(t, other, parts)
		}
		seen[k.id] = slices.Clone(parts)
		if left == 0 {
			return
		}
		try(append(slices.Clone(parts), ""), left-1) // the next part begins
		for _, p := range pieces {
			longer := slices.Clone(parts)
			longer[len(longer)-1] += p
			try(longer, left-1)
		}
	}
	try([]string{""}, 7)
}

func keyOf(parts []string) Key {
	var rest []any
	for _, p := range parts[1:] {
		rest = append(rest, p)
	}
	return NewKey(parts[0], rest...)
}

// FuzzNewKey: keys are one lock if they were made from the same texts, cut at the same places.
func FuzzNewKey(f *testing.F) {
	f.Add("abc", byte(1), byte(2))
	f.Add("a1:b", byte(1), byte(3))
	f.Add("\u00e4\x00\xff", byte(0), byte(1))
	f.Add("", byte(0), byte(0))
	f.Fuzz(func(t *testing.T, text string, a, b byte) {
		i, j := int(a)%(len(text)+1), int(b)%(len(text)+1)
		lists := [][]string{
			{text}, {text, ""}, {text[:i], text[i:]}, {text[:j], text[j:]}, {text[:min(i, j)], text[min(i, j):max(i, j)], text[max(i, j):]},
			{text[:i] + "1:" + text[i:]}, {text[:i] + "/" + text[i:]}, {text[:i] + "\x00" + text[i:]},
		}
		for _, l := range lists {
			for _, m := range lists {
				require.Equal(t, slices.Equal(l, m), keyOf(l).id == keyOf(m).id, "%q, %q", l, m)
			}
		}
	})
}
