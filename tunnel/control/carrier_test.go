package control

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"
)

// TestCarrier: a carrier and a hello come to the same exit and are told apart; both show their keys first.
func TestCarrier(t *testing.T) {
	gateway, exit := mustGenerate(t), mustGenerate(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, s := tcpPair(t)
	type accepted struct {
		in  *Incoming
		err error
	}
	got := make(chan accepted, 1)
	accept := func() {
		in, err := Accept(ctx, s, exit)
		got <- accepted{in, err}
	}
	go accept()
	near, err := Carrier(ctx, c, gateway, exit.Public())
	if err != nil {
		t.Fatal(err)
	}
	a := <-got
	if a.err != nil || !a.in.IsCarrier() || a.in.PeerKey != gateway.Public() {
		t.Fatalf("accepted: %+v", a)
	}
	far, err := a.in.Carrier()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := near.Write([]byte("data")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	if _, err := io.ReadFull(far, b); err != nil || string(b) != "data" {
		t.Errorf("read %q, %v", b, err)
	}

	c, s = tcpPair(t)
	go accept()
	if _, err := Carrier(ctx, c, gateway, gateway.Public()); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another exit: %v", err)
	}
	<-got
	c, s = tcpPair(t)
	go Server(ctx, s, exit, func(PublicKey) bool { return true }, func(PublicKey, Offer) Answer { return testAnswer() })
	if _, err := Client(ctx, c, gateway, exit.Public(), testOffer()); err != nil {
		t.Errorf("a hello: %v", err)
	}
}
