package uplink

import "os"

// StateFile is where another room keeps what it has to restore in this network namespace:
// a path that begins with name, in the directory of the System's own state file, and the
// boot it is good for.
func StateFile(name string) (path, boot string, err error) {
	ns, err := namespace()
	if err != nil {
		return "", "", err
	}
	path, err = defaultState(stateDir, os.TempDir(), name, ns)
	return path, bootID(), err
}
