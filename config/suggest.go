package config

import (
	"strings"
)

// suggest returns what to write instead of a word that is not known.
func suggest(word string, known []string) string {
	if len(known) == 0 {
		return "none are known"
	}
	best, least := "", 3
	for _, candidate := range known {
		if d := distance(fold(word), fold(candidate)); d < least && d < len(candidate) {
			best, least = candidate, d
		}
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	if len(known) == 1 {
		return "known is only " + known[0]
	}
	return "known are " + strings.Join(known, ", ")
}

// fold makes words equal that differ only in how they are put together.
func fold(word string) string {
	return strings.NewReplacer("_", " ", "-", " ").Replace(strings.ToLower(word))
}

// distance is the number of letters to insert, remove, replace or swap with the next, to get from a to b.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range y {
		rows[0][j+1] = j + 1
	}
	for i := range x {
		for j := range y {
			cost := 1
			if x[i] == y[j] {
				cost = 0
			}
			rows[i+1][j+1] = min(rows[i][j+1]+1, rows[i+1][j]+1, rows[i][j]+cost)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				rows[i+1][j+1] = min(rows[i+1][j+1], rows[i-1][j-1]+1)
			}
		}
	}
	return rows[len(x)][len(y)]
}
