package main

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// state is everything that a test may ask for.
type state struct {
	// Requests that came, faulty ones included, and those that a fault struck.
	Requests int         `json:"requests"`
	Faulty   int         `json:"faulty"`
	Received []*received `json:"received"`
	Refused  []refusal   `json:"refused"`
	Wire     wireTotals  `json:"wire"`
	// Connections and requests that came through the proxy.
	Proxied int `json:"proxied"`
}

// control is the interface of the tests:
//
//	GET    /state         everything
//	GET    /counts        how many profiles were received, and how many connections are open
//	DELETE /state         forget what was received and refused
//	GET    /profiles/N    the profile of that index, as it came
//	PUT    /settings      set those that are named
//	POST   /faults        one more fault, behind those that are there
//	DELETE /faults        none any more
//	POST   /shut, /open   refuse connections; take them again
//	PUT    /proxy         {"authorization": "Basic …"}: what the proxy asks for
func (db *database) control(wire *wire) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, do func(r *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := do(r); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
		})
	}
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		db.mu.Lock()
		defer db.mu.Unlock()
		all := state{
			Requests: db.requests,
			Faulty:   db.faults.struck,
			Received: append([]*received{}, db.received...),
			Refused:  append([]refusal{}, db.refused...),
			Wire:     wire.totals(),
			Proxied:  db.proxy.count(),
		}
		json.NewEncoder(w).Encode(all)
	})
	mux.HandleFunc("GET /counts", func(w http.ResponseWriter, _ *http.Request) {
		db.mu.Lock()
		received := len(db.received)
		db.mu.Unlock()
		json.NewEncoder(w).Encode(map[string]int{"received": received, "open": wire.totals().Open})
	})
	handle("DELETE /state", func(*http.Request) error {
		db.mu.Lock()
		defer db.mu.Unlock()
		db.forget()
		return nil
	})
	mux.HandleFunc("GET /profiles/{index}", func(w http.ResponseWriter, r *http.Request) {
		db.mu.Lock()
		defer db.mu.Unlock()
		index, err := strconv.Atoi(r.PathValue("index"))
		if err != nil || index < 0 || index >= len(db.received) {
			http.NotFound(w, r)
			return
		}
		w.Write(db.received[index].raw)
	})
	handle("PUT /settings", func(r *http.Request) error {
		db.mu.Lock()
		defer db.mu.Unlock()
		return decode(r, &db.settings)
	})
	handle("POST /faults", func(r *http.Request) error {
		f := &fault{}
		if err := decode(r, f); err != nil {
			return err
		}
		if err := f.prepare(); err != nil {
			return err
		}
		db.mu.Lock()
		defer db.mu.Unlock()
		db.faults.faults = append(db.faults.faults, f)
		return nil
	})
	handle("DELETE /faults", func(*http.Request) error {
		db.mu.Lock()
		defer db.mu.Unlock()
		db.faults.faults = nil
		return nil
	})
	handle("POST /shut", func(*http.Request) error { return wire.shut() })
	handle("POST /open", func(*http.Request) error { return wire.open() })
	handle("PUT /proxy", func(r *http.Request) error {
		db.proxy.mu.Lock()
		defer db.proxy.mu.Unlock()
		return decode(r, &db.proxy.settings)
	})
	return mux
}

func decode(r *http.Request, into any) error {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}
