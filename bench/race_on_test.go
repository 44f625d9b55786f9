//go:build race

package bench

// raceBuild: the daemons are this binary, and several times slower.
const raceBuild = true
