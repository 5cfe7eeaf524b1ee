package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"
)

// fault is a way in which requests fail.
type fault struct {
	// answer, hang, slow, trickle, half, half_head, huge, reset: see apply.
	Kind string `json:"kind"`
	// For how many requests; 0 is until all faults are cleared.
	Count int `json:"count"`
	// How likely it strikes; 0 is always. A request that it spares does not count.
	Probability float64 `json:"probability"`
	// Whether the profile is stored all the same, before the request fails.
	Store bool `json:"store"`
	// Of the answer, where there is one.
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	// Connect's code and message make the body, and the status if it is not given.
	Code    string `json:"code"`
	Message string `json:"message"`
	// Bytes of a huge answer, and those that a half one breaks off after.
	Bytes int `json:"bytes"`
	// Milliseconds before a slow request is looked at.
	Millis int `json:"millis"`
	// Of dice, so that a run can be repeated.
	Seed uint64 `json:"seed"`

	left int
	dice *rand.Rand
}

// faultPlan is worked off in order.
type faultPlan struct {
	faults []*fault
	struck int
}

// statusOf is Connect's table.
var statusOf = map[string]int{
	"canceled": 499, "unknown": 500, "invalid_argument": 400, "deadline_exceeded": 504, "not_found": 404,
	"already_exists": 409, "permission_denied": 403, "resource_exhausted": 429, "failed_precondition": 400,
	"aborted": 409, "out_of_range": 400, "unimplemented": 501, "internal": 500, "unavailable": 503,
	"data_loss": 500, "unauthenticated": 401,
}

func (f *fault) prepare() error {
	switch f.Kind {
	case "answer", "hang", "slow", "trickle", "half", "half_head", "huge", "reset":
	default:
		return fmt.Errorf("no fault is called %q", f.Kind)
	}
	if f.Code != "" {
		status, known := statusOf[f.Code]
		if !known {
			return fmt.Errorf("Connect has no code %q", f.Code)
		}
		if f.Status == 0 {
			f.Status = status
		}
		body, err := json.Marshal(map[string]string{"code": f.Code, "message": f.Message})
		if err != nil {
			return err
		}
		f.Body = string(body)
		if f.Headers == nil {
			f.Headers = map[string]string{}
		}
		f.Headers["Content-Type"] = "application/json"
	}
	if f.Status == 0 {
		f.Status = http.StatusInternalServerError
	}
	f.left = f.Count
	f.dice = rand.New(rand.NewPCG(f.Seed, f.Seed))
	return nil
}

// next is the fault of the next request, if it is to have one.
func (plan *faultPlan) next() *fault {
	for len(plan.faults) > 0 {
		f := plan.faults[0]
		if f.Count > 0 && f.left == 0 {
			plan.faults = plan.faults[1:]
			continue
		}
		if f.Probability > 0 && f.dice.Float64() >= f.Probability {
			return nil
		}
		f.left--
		plan.struck++
		return f
	}
	return nil
}

// apply fails the request. The body is always read: a client that is still writing would see another error.
func (f *fault) apply(w http.ResponseWriter, r *http.Request, next http.Handler, info *requestInfo) {
	if f.Kind == "slow" {
		f.slow(w, r, next)
		return
	}
	if f.Store {
		info.answerLost = f.Kind != "answer" || f.Status != http.StatusOK
		next.ServeHTTP(httptest.NewRecorder(), r)
	} else if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	switch f.Kind {
	case "answer":
		f.head(w)
		io.WriteString(w, f.Body)
	case "hang":
		<-r.Context().Done()
	case "trickle":
		f.trickle(w, r)
	case "half":
		f.breakOff(w, f.rawHead()+f.Body)
	case "half_head":
		head := f.rawHead()
		f.breakOff(w, head[:len(head)/2])
	case "huge":
		f.head(w)
		chunk := strings.Repeat("x", 32<<10)
		for sent := 0; sent < f.Bytes; sent += len(chunk) {
			if _, err := io.WriteString(w, chunk); err != nil {
				return
			}
		}
	case "reset":
		f.breakOff(w, "")
	}
}

// slow serves the request as ever, but later; not at all if its client has gone by then.
func (f *fault) slow(w http.ResponseWriter, r *http.Request, next http.Handler) {
	// Until the body has been read nobody would notice that the client is gone.
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	select {
	case <-r.Context().Done():
	case <-time.After(time.Duration(f.Millis) * time.Millisecond):
		next.ServeHTTP(w, r)
	}
}

func (f *fault) head(w http.ResponseWriter) {
	for name, value := range f.Headers {
		w.Header().Set(name, value)
	}
	w.WriteHeader(f.Status)
}

// trickle sends head and body without end, a byte now and then.
func (f *fault) trickle(w http.ResponseWriter, r *http.Request) {
	f.head(w)
	control := http.NewResponseController(w)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := io.WriteString(w, "x"); err != nil || control.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}

// rawHead announces more than follows.
func (f *fault) rawHead() string {
	var head strings.Builder
	fmt.Fprintf(&head, "HTTP/1.1 %d %s\r\n", f.Status, http.StatusText(f.Status))
	for name, value := range f.Headers {
		fmt.Fprintf(&head, "%s: %s\r\n", name, value)
	}
	fmt.Fprintf(&head, "Content-Length: %d\r\n\r\n", len(f.Body)+100)
	return head.String()
}

// breakOff sends this and then resets the connection; of HTTP/2, which has no such access, the stream at once.
func (f *fault) breakOff(w http.ResponseWriter, what string) {
	raw, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if what == "" {
		// A reset instead of an orderly end.
		var below net.Conn = raw
		if secured, ok := raw.(*tls.Conn); ok {
			below = secured.NetConn()
		}
		if counted, ok := below.(*conn); ok {
			below = counted.Conn
		}
		if tcp, ok := below.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
	}
	io.WriteString(raw, what)
	raw.Close()
}
