package main

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// wire is a listener that counts what goes over its connections, below TLS and HTTP, and that can be shut and opened
// again at the same address.
type wire struct {
	address net.Addr

	mu       sync.Mutex
	changed  *sync.Cond
	listener net.Listener // nil while shut
	conns    map[*conn]bool
	busy     map[*conn]bool // with a request that is not answered yet
	serial   int
	read     int64 // by connections that are gone
	written  int64
}

// conn counts its bytes.
type conn struct {
	net.Conn
	wire    *wire
	serial  int
	read    atomic.Int64
	written atomic.Int64
	told    atomic.Int64 // of read, what readSinceLast has given
}

type connKey struct{}

func listen(address string) (*wire, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	w := &wire{address: listener.Addr(), listener: listener, conns: map[*conn]bool{}, busy: map[*conn]bool{}}
	w.changed = sync.NewCond(&w.mu)
	return w, nil
}

func (w *wire) Addr() net.Addr { return w.address }

// Close is for http.Server; the process ends soon after.
func (w *wire) Close() error { return nil }

func (w *wire) Accept() (net.Conn, error) {
	for {
		w.mu.Lock()
		for w.listener == nil {
			w.changed.Wait()
		}
		listener := w.listener
		w.mu.Unlock()
		accepted, err := listener.Accept()
		w.mu.Lock()
		if err != nil {
			isShut := w.listener != listener
			w.mu.Unlock()
			if isShut {
				continue
			}
			return nil, err
		}
		w.serial++
		c := &conn{Conn: accepted, wire: w, serial: w.serial}
		w.conns[c] = true
		w.mu.Unlock()
		return c, nil
	}
}

// begin says that a request is about to be served; false if it comes too late.
func (w *wire) begin(c *conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.listener == nil {
		return false
	}
	w.busy[c] = true
	return true
}

// connState is told by the HTTP server; idle means that the last answer is with the kernel.
func (w *wire) connState(nc net.Conn, state http.ConnState) {
	if state == http.StateNew || state == http.StateActive {
		return
	}
	if c, ok := unwrap(nc).(*conn); ok {
		w.mu.Lock()
		delete(w.busy, c)
		w.mu.Unlock()
		w.changed.Broadcast()
	}
}

// shut ends all connections; new ones are refused by the kernel until open. Requests that are being answered are answered
// first, so that no answer is lost by it, but for those that hang.
func (w *wire) shut() error {
	w.mu.Lock()
	listener := w.listener
	w.listener = nil
	hang := false
	timer := time.AfterFunc(500*time.Millisecond, func() {
		w.mu.Lock()
		hang = true
		w.mu.Unlock()
		w.changed.Broadcast()
	})
	defer timer.Stop()
	for len(w.busy) > 0 && !hang {
		w.changed.Wait()
	}
	clear(w.busy)
	conns := make([]*conn, 0, len(w.conns))
	for c := range w.conns {
		conns = append(conns, c)
	}
	w.mu.Unlock()
	if listener == nil {
		return nil
	}
	err := listener.Close()
	for _, c := range conns {
		c.Close()
	}
	return err
}

func (w *wire) open() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.listener != nil {
		return nil
	}
	listener, err := net.Listen("tcp", w.address.String())
	if err != nil {
		return err
	}
	w.listener = listener
	w.changed.Broadcast()
	return nil
}

// wireTotals is what went over all connections so far.
type wireTotals struct {
	Connections int   `json:"connections"`
	Open        int   `json:"open"`
	Read        int64 `json:"read_bytes"`
	Written     int64 `json:"written_bytes"`
}

func (w *wire) totals() wireTotals {
	w.mu.Lock()
	defer w.mu.Unlock()
	totals := wireTotals{Connections: w.serial, Open: len(w.conns), Read: w.read, Written: w.written}
	for c := range w.conns {
		totals.Read += c.read.Load()
		totals.Written += c.written.Load()
	}
	return totals
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Add(int64(n))
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.written.Add(int64(n))
	return n, err
}

func (c *conn) Close() error {
	c.wire.mu.Lock()
	if c.wire.conns[c] {
		delete(c.wire.conns, c)
		c.wire.read += c.read.Load()
		c.wire.written += c.written.Load()
	}
	c.wire.mu.Unlock()
	return c.Conn.Close()
}

// readSinceLast is how many bytes came since the last call: with one request at a time, this request's.
func (c *conn) readSinceLast() int64 {
	read := c.read.Load()
	return read - c.told.Swap(read)
}

// connContext lets a request find its connection, also through TLS.
func (w *wire) connContext(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, unwrap(nc))
}

// unwrap is what lies below TLS.
func unwrap(nc net.Conn) net.Conn {
	if wrapped, ok := nc.(interface{ NetConn() net.Conn }); ok {
		return wrapped.NetConn()
	}
	return nc
}

func connOf(request *http.Request) *conn {
	c, _ := request.Context().Value(connKey{}).(*conn)
	return c
}
