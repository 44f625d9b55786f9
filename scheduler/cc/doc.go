// Package cc is the congestion controller of one path.
package cc
