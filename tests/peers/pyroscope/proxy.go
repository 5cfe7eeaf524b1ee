package main

import (
	"io"
	"net"
	"net/http"
	"sync"
)

// proxy passes on requests of http and tunnels for https, and counts them.
type proxy struct {
	mu       sync.Mutex
	passed   int
	settings proxySettings
}

type proxySettings struct {
	// What Proxy-Authorization must be; empty lets everybody through.
	Authorization string `json:"authorization"`
}

func (p *proxy) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passed
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	isLetIn := p.settings.Authorization == "" || p.settings.Authorization == r.Header.Get("Proxy-Authorization")
	if isLetIn {
		p.passed++
	}
	p.mu.Unlock()
	switch {
	case !isLetIn:
		w.Header().Set("Proxy-Authenticate", "Basic")
		w.WriteHeader(http.StatusProxyAuthRequired)
	case r.Method == http.MethodConnect:
		tunnel(w, r)
	case r.URL.IsAbs():
		pass(w, r)
	default:
		http.Error(w, "this is a proxy", http.StatusBadRequest)
	}
}

func pass(w http.ResponseWriter, r *http.Request) {
	r.RequestURI = ""
	r.Header.Del("Proxy-Authorization")
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.StatusCode)
	io.Copy(w, answer.Body)
}

func tunnel(w http.ResponseWriter, r *http.Request) {
	there, err := net.Dial("tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	here, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		there.Close()
		return
	}
	io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() {
		io.Copy(there, here)
		there.Close()
	}()
	io.Copy(here, there)
	here.Close()
}
