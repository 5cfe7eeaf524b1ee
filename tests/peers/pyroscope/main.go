// A profile database to test against: it speaks Pyroscope's push protocol with the project's own types, refuses what
// the real one refuses, keeps what it takes, and fails as it is told.
//
//	main.go      flags, listeners, the end
//	server.go    push.v1.PusherService: what is taken and what is refused
//	limits.go    the database's limits, as its version 2.2 has them
//	received.go  what was taken, as JSON
//	faults.go    how the next requests fail
//	control.go   HTTP interface of the tests
//	wire.go      listeners that count bytes and can be shut
//	certs.go     certificates for TLS
//	proxy.go     an HTTP proxy, to be between
//
// Prints one line of JSON with its addresses, then serves until its standard input ends. Listens on loopback only.
package main

import (
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	log.SetFlags(log.Lmicroseconds)
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	certFolder := flag.String("certs", "", "speak TLS, and write certificates and keys for both sides into this `folder`")
	clientCert := flag.Bool("client-cert", false, "with -certs: ask for a certificate that client.pem's authority signed")
	http1 := flag.Bool("http1", false, "speak HTTP/1.1 only")
	flag.Parse()

	db := newDatabase()
	wire, err := listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	if !*http1 {
		protocols.SetHTTP2(true)
		protocols.SetUnencryptedHTTP2(true)
	}
	server := &http.Server{
		Handler:     db.handler(),
		Protocols:   protocols,
		ConnContext: wire.connContext,
		ConnState:   wire.connState,
		// What a dropped connection makes the library say is no news here.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	scheme := "http"
	serve := func() error { return server.Serve(wire) }
	if *certFolder != "" {
		scheme = "https"
		config, err := makeCertificates(*certFolder, *clientCert)
		if err != nil {
			return err
		}
		server.TLSConfig = config
		serve = func() error { return server.ServeTLS(wire, "", "") }
	}
	go func() { log.Print(serve()) }()

	control, err := listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { log.Print(http.Serve(control, db.control(wire))) }()
	between, err := listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	proxy := &proxy{}
	db.proxy = proxy
	go func() { log.Print(http.Serve(between, proxy)) }()

	addresses := map[string]string{
		"url":     fmt.Sprintf("%s://%s", scheme, wire.Addr()),
		"control": control.Addr().String(),
		"proxy":   between.Addr().String(),
	}
	if err := json.NewEncoder(os.Stdout).Encode(addresses); err != nil {
		return err
	}
	// Whoever started us holds the other end; when they are gone, so are we.
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// serverTLS is the part of the server's configuration that certs.go does not care for.
func serverTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, Time: time.Now}
}
