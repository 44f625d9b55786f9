//go:build unix && !linux

package endpoints

import "golang.org/x/sys/unix"

// readInto fills the first of rooms with what a socket has.
func readInto(fd int, rooms [][]byte) (int, error) { return unix.Read(fd, rooms[0]) }
