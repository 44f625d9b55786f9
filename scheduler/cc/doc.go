// Package cc is the congestion controller of one path.
package cc

func (c *BBR) debug() string { return "" }
