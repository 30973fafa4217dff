package client

import (
	"context"
	"net"
	"time"
)

// Dial returns how to dial connections that break when nothing moves on them for
// a while: a server that stalls in the middle of an answer holds up nobody for
// ever.
func Dial(idle time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &idleConn{conn, idle}, nil
	}
}

// idleConn is a connection with a deadline that each read and each write moves
// on: an answer may take as long as its question is being written.
type idleConn struct {
	net.Conn
	idle time.Duration
}

// Read reads what has arrived.
func (c *idleConn) Read(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write writes on.
func (c *idleConn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
