//go:build !unix

package endpoints

import "net"

func newBlockReader(c net.Conn) blockReader { return &plainReader{conn: c} }

func newChainWriter(c net.Conn) chainWriter { return &plainWriter{conn: c} }
