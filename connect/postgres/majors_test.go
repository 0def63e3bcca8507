package postgres

// testMajors are the servers that matrix tests run on; those that are not installed are skipped by name.
var testMajors = []int{10, 13, 15, 18}
