// A client and a server of Go's crypto/tls: `tls_peer ADDRESS` dials several times, `tls_peer -serve ADDRESS CERTIFICATE`.
package main

import (
	"crypto/tls"
	"io"
	"net"
	"os"
)

func serve(address, pem string) {
	certificate, err := tls.LoadX509KeyPair(pem, pem)
	if err != nil {
		panic(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS10}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		panic(err)
	}
	for {
		plain, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			connection := tls.Server(plain, config)
			defer connection.Close()
			if connection.Handshake() == nil {
				io.WriteString(connection, "hello")
			}
		}()
	}
}

func dial(address string, config *tls.Config) {
	config.InsecureSkipVerify = true
	connection, err := tls.Dial("tcp", address, config)
	if err != nil {
		return
	}
	defer connection.Close()
	io.WriteString(connection, "GET / HTTP/1.0\r\n\r\n")
	io.ReadFull(connection, make([]byte, 5)) // the ticket for the next one comes before it
}

func main() {
	if os.Args[1] == "-serve" {
		serve(os.Args[2], os.Args[3])
		return
	}
	address := os.Args[1]
	dial(address, &tls.Config{ServerName: "go.test"})
	dial(address, &tls.Config{ServerName: "go.test", NextProtos: []string{"h2", "http/1.1"}})
	dial(address, &tls.Config{NextProtos: []string{"acme-tls/1"}})
	dial(address, &tls.Config{ServerName: "old.go.test", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	dial(address, &tls.Config{ServerName: "two.go.test", MaxVersion: tls.VersionTLS12})
	dial(address, &tls.Config{ServerName: "p521.go.test", CurvePreferences: []tls.CurveID{tls.CurveP521}})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := &tls.Config{ServerName: "again.go.test", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
		dial(address, config)
		dial(address, config)
	}
}
