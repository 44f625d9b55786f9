package endpoints

import "golang.org/x/sys/unix"

// readInto fills rooms, one after the other, with what a socket has.
func readInto(fd int, rooms [][]byte) (int, error) {
	if len(rooms) == 1 {
		return unix.Read(fd, rooms[0])
	}
	return unix.Readv(fd, rooms)
}
