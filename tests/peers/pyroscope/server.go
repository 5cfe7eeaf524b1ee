package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/google/pprof/profile"
	pushv1 "github.com/grafana/pyroscope/api/gen/proto/go/push/v1"
	"github.com/grafana/pyroscope/api/gen/proto/go/push/v1/pushv1connect"
	typesv1 "github.com/grafana/pyroscope/api/gen/proto/go/types/v1"
)

// settings are what a test may set; the rest of the limits is as it is.
type settings struct {
	limits
	// Refuse requests without a tenant.
	Multitenancy bool `json:"multitenancy"`
	// Values of Authorization that are let in; empty lets everybody in.
	Authorizations []string `json:"authorizations"`
	// Added to this machine's clock.
	ClockOffsetSeconds float64 `json:"clock_offset_seconds"`
}

// database is the server's whole state.
type database struct {
	proxy  *proxy
	bucket bucket

	mu       sync.Mutex
	settings settings
	faults   faultPlan
	requests int
	received []*received
	refused  []refusal
	byID     map[string]int
	byMoment map[string]int
}

// requestInfo is what the push needs to know of its request beside the message.
type requestInfo struct {
	request    *http.Request
	answerLost bool
}

type requestKey struct{}

func newDatabase() *database {
	db := &database{settings: settings{limits: defaultLimits()}}
	db.forget()
	return db
}

// forget drops what was received and refused.
func (db *database) forget() {
	db.received, db.refused = nil, nil
	db.byID, db.byMoment = map[string]int{}, map[string]int{}
}

func (db *database) now() time.Time {
	db.mu.Lock()
	defer db.mu.Unlock()
	return time.Now().Add(time.Duration(db.settings.ClockOffsetSeconds * float64(time.Second)))
}

func (db *database) currentSettings() settings {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.settings
}

// handler is the push service behind the faults.
func (db *database) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(pushv1connect.NewPusherServiceHandler(db))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c := connOf(r); c != nil && !c.wire.begin(c) {
			panic(http.ErrAbortHandler)
		}
		db.mu.Lock()
		db.requests++
		fault := db.faults.next()
		db.mu.Unlock()
		info := &requestInfo{request: r}
		r = r.WithContext(context.WithValue(r.Context(), requestKey{}, info))
		if fault == nil {
			mux.ServeHTTP(w, r)
			return
		}
		fault.apply(w, r, mux, info)
	})
}

// Push takes what is right, as the real one: series by series, the first trouble is the answer.
func (db *database) Push(ctx context.Context, req *connect.Request[pushv1.PushRequest]) (*connect.Response[pushv1.PushResponse], error) {
	info, _ := ctx.Value(requestKey{}).(*requestInfo)
	if err := db.push(info, req); err != nil {
		db.mu.Lock()
		db.refused = append(db.refused, refusal{
			Code:    connect.CodeOf(err).String(),
			Message: err.Error(),
			Labels:  labelsOfFirst(req.Msg),
		})
		db.mu.Unlock()
		return nil, err
	}
	return connect.NewResponse(&pushv1.PushResponse{}), nil
}

func (db *database) push(info *requestInfo, req *connect.Request[pushv1.PushRequest]) error {
	settings := db.currentSettings()
	if len(settings.Authorizations) > 0 && !slices.Contains(settings.Authorizations, req.Header().Get("Authorization")) {
		return connect.NewError(connect.CodeUnauthenticated, errors.New("invalid credentials"))
	}
	tenant := req.Header().Get("X-Scope-OrgID")
	if settings.Multitenancy && tenant == "" {
		return connect.NewError(connect.CodeUnauthenticated, errors.New("no org id"))
	}
	found := false
	for _, series := range req.Msg.Series {
		for _, sample := range series.Samples {
			found = true
			if err := db.pushOne(&settings, info, series.Labels, sample, req); err != nil {
				return err
			}
		}
	}
	if !found {
		return invalid("no profiles received")
	}
	return nil
}

func (db *database) pushOne(
	settings *settings, info *requestInfo, labels []*typesv1.LabelPair, sample *pushv1.RawSample,
	req *connect.Request[pushv1.PushRequest],
) error {
	unpacked, err := unpack(sample.RawProfile, settings.MaxProfileBytes)
	if err != nil {
		return err
	}
	// The real one calls bytes that are no profile an unknown error, which is 500: as if it might pass later.
	p, err := profile.ParseUncompressed(unpacked)
	if err != nil {
		return fmt.Errorf("proto: %w", err)
	}
	if valueOf(labels, "service_name") == "" {
		labels = append(labels, &typesv1.LabelPair{Name: "service_name", Value: "unknown_service"})
	}
	sortLabels(labels)
	size := len(unpacked)
	for _, label := range labels {
		size += len(label.Name) + len(label.Value)
	}
	if err := db.bucket.take(&settings.limits, size); err != nil {
		return err
	}
	if err := settings.checkProfile(p, len(unpacked), textOf(labels), db.now()); err != nil {
		return err
	}
	if err := settings.checkLabels(labels); err != nil {
		return err
	}
	// Stricter than the real one: what pprof's own library would not take is never right.
	if err := p.CheckValid(); err != nil {
		return invalid("not valid by pprof's own library: %v", err)
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	entry := describe(p, labels, sample, unpacked)
	entry.Index = len(db.received)
	entry.Tenant = req.Header().Get("X-Scope-OrgID")
	entry.Protocol = info.request.Proto
	entry.Headers = flatten(req.Header())
	entry.AnswerLost = info.answerLost
	if c := connOf(info.request); c != nil {
		entry.Connection = c.serial
		entry.WireBytes = c.readSinceLast()
	}
	db.compare(entry, textOf(labels))
	db.received = append(db.received, entry)
	return nil
}

// compare finds what the entry repeats and what it hides behind.
func (db *database) compare(entry *received, series string) {
	if first, known := db.byID[entry.ID]; known && entry.ID != "" {
		entry.DuplicateOf = &first
		return
	}
	db.byID[entry.ID] = entry.Index
	moment := fmt.Sprintf("%s %d", series, entry.TimeNanos/int64(time.Millisecond))
	if first, known := db.byMoment[moment]; known {
		entry.HiddenBy = &first
		return
	}
	db.byMoment[moment] = entry.Index
}

// unpack is the real one's: gzip or not, and no more than the limit.
func unpack(raw []byte, limit int) ([]byte, error) {
	var reader io.Reader = bytes.NewReader(raw)
	if bytes.HasPrefix(raw, []byte{0x1f, 0x8b}) {
		packed, err := gzip.NewReader(reader)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		reader = packed
	}
	if limit > 0 {
		reader = io.LimitReader(reader, int64(limit)+1)
	}
	unpacked, err := io.ReadAll(reader)
	if err != nil {
		return nil, fmt.Errorf("copy to buffer: %w", err)
	}
	if limit > 0 && len(unpacked) > limit {
		return nil, invalid("uncompressed profile payload size exceeds limit of %d B", limit)
	}
	return unpacked, nil
}

func labelsOfFirst(req *pushv1.PushRequest) map[string]string {
	labels := map[string]string{}
	for _, series := range req.Series {
		for _, label := range series.Labels {
			labels[label.Name] = label.Value
		}
		break
	}
	return labels
}

func flatten(headers http.Header) map[string]string {
	flat := map[string]string{}
	for name := range headers {
		flat[name] = headers.Get(name)
	}
	return flat
}
