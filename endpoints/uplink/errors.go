package uplink

import (
	"errors"
	"fmt"
	"io/fs"
)

var (
	// ErrRights says that the process may not change the network. It also is
	// fs.ErrPermission.
	ErrRights = fmt.Errorf("not allowed to change the network: run as root or give the binary CAP_NET_ADMIN: %w", fs.ErrPermission)

	// ErrUnsupported says that the kernel lacks a feature. It also is
	// errors.ErrUnsupported.
	ErrUnsupported = fmt.Errorf("this system lacks a needed feature: %w", errors.ErrUnsupported)

	// ErrBusy says that another living bondd holds the same part of the machine.
	ErrBusy = errors.New("another bondd is running here")

	// ErrClosed is returned by a closed Monitor or System.
	ErrClosed = errors.New("watching or keeping uplinks has ended")
)
