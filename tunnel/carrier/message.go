package carrier

import "encoding/binary"

// kind of a message about a stream.
type kind uint8

const (
	accepted kind = 1
	end      kind = 2
	reset    kind = 3
	roomy    kind = 4
)

const messageLen = 13

// message is what one end tells the other about a stream.
type message struct {
	kind  kind
	id    uint32
	value uint64
}

func (m message) append(b []byte) []byte {
	b = append(b, byte(m.kind))
	b = binary.BigEndian.AppendUint32(b, m.id)
	return binary.BigEndian.AppendUint64(b, m.value)
}

func parseMessage(b [messageLen]byte) message {
	return message{kind(b[0]), binary.BigEndian.Uint32(b[1:]), binary.BigEndian.Uint64(b[5:])}
}
