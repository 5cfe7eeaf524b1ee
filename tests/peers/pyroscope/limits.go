package main

import (
	"fmt"
	"math"
	"sort"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"
	"github.com/google/pprof/profile"
	typesv1 "github.com/grafana/pyroscope/api/gen/proto/go/types/v1"
)

// limits are the database's, with the defaults of Pyroscope 2.2. Zero turns one off, as there.
type limits struct {
	MaxProfileBytes    int     `json:"max_profile_bytes"`
	MaxSamples         int     `json:"max_samples"`
	MaxSampleLabels    int     `json:"max_sample_labels"`
	MaxLabels          int     `json:"max_labels"`
	MaxLabelNameBytes  int     `json:"max_label_name_bytes"`
	MaxLabelValueBytes int     `json:"max_label_value_bytes"`
	OldestSeconds      float64 `json:"oldest_seconds"`
	NewestSeconds      float64 `json:"newest_seconds"`
	// Bytes a second and at once, labels included. The real one always limits; here only if asked to, for a test may
	// send in a second what an agent sends in a day.
	IsRateLimited bool    `json:"is_rate_limited"`
	RateBytes     float64 `json:"rate_bytes"`
	BurstBytes    float64 `json:"burst_bytes"`
}

func defaultLimits() limits {
	return limits{
		MaxProfileBytes:    4 << 20,
		MaxSamples:         16_000,
		MaxSampleLabels:    100,
		MaxLabels:          30,
		MaxLabelNameBytes:  1024,
		MaxLabelValueBytes: 2048,
		OldestSeconds:      3600,
		NewestSeconds:      600,
		RateBytes:          4 << 20,
		BurstBytes:         2 << 20,
	}
}

// invalid is a refusal for good, as the real one's: 400.
func invalid(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf(format, args...))
}

func (l *limits) checkProfile(p *profile.Profile, unpacked int, labels string, now time.Time) error {
	if len(p.SampleType) == 0 {
		return invalid("empty profile")
	}
	if p.TimeNanos > 0 {
		at := time.Unix(0, p.TimeNanos)
		oldest := now.Add(-time.Duration(l.OldestSeconds * float64(time.Second)))
		newest := now.Add(time.Duration(l.NewestSeconds * float64(time.Second)))
		if l.OldestSeconds != 0 && !at.After(oldest) || l.NewestSeconds != 0 && !at.Before(newest) {
			return invalid(
				"profile with labels '%s' is outside of ingestion window (profile timestamp: %s, the ingestion window starts at %s and ends at %s)",
				labels, at.UTC().Format(time.RFC3339), oldest.UTC().Format(time.RFC3339), newest.UTC().Format(time.RFC3339))
		}
	}
	if l.MaxProfileBytes != 0 && unpacked > l.MaxProfileBytes {
		return invalid("the profile with labels '%s' exceeds the size limit (max_profile_size_byte, actual: %d, limit: %d)",
			labels, unpacked, l.MaxProfileBytes)
	}
	if l.MaxSamples != 0 && len(p.Sample) > l.MaxSamples {
		return invalid("the profile with labels '%s' exceeds the samples count limit (max_profile_stacktrace_samples, actual: %d, limit: %d)",
			labels, len(p.Sample), l.MaxSamples)
	}
	for _, sample := range p.Sample {
		if n := len(sample.Label) + len(sample.NumLabel); l.MaxSampleLabels != 0 && n > l.MaxSampleLabels {
			return invalid("the profile with labels '%s' exceeds the sample labels limit (max_profile_stacktrace_sample_labels, actual: %d, limit: %d)",
				labels, n, l.MaxSampleLabels)
		}
	}
	for _, kind := range p.SampleType {
		if strings.Contains(kind.Type, "-") {
			return invalid("sample type contains -")
		}
	}
	return nil
}

// checkLabels sorts them, as the real one does.
func (l *limits) checkLabels(labels []*typesv1.LabelPair) error {
	if len(labels) == 0 {
		return invalid("error at least one label pair is required per profile")
	}
	text := textOf(labels)
	if l.MaxLabels != 0 && len(labels) > l.MaxLabels {
		return invalid("profile series '%s' has %d label names; limit %d", text, len(labels), l.MaxLabels)
	}
	if name := valueOf(labels, "__name__"); name == "" || !utf8.ValidString(name) {
		return invalid("invalid labels '%s' with error: invalid metric name", text)
	}
	last := ""
	for _, label := range labels {
		switch {
		case l.MaxLabelNameBytes != 0 && len(label.Name) > l.MaxLabelNameBytes:
			return invalid("profile with labels '%s' has label name too long: '%s'", text, label.Name)
		case l.MaxLabelValueBytes != 0 && len(label.Value) > l.MaxLabelValueBytes:
			return invalid("profile with labels '%s' has label value too long: '%s'", text, label.Value)
		case label.Name == "" || !utf8.ValidString(label.Name):
			return invalid("invalid labels '%s' with error: invalid label name '%s'", text, label.Name)
		case !utf8.ValidString(label.Value):
			return invalid("invalid labels '%s' with error: invalid label value '%s'", text, label.Value)
		case label.Name == last:
			return invalid("profile with labels '%s' has duplicate label name: '%s'", text, label.Name)
		}
		last = label.Name
	}
	return nil
}

func sortLabels(labels []*typesv1.LabelPair) {
	sort.SliceStable(labels, func(i, j int) bool { return labels[i].Name < labels[j].Name })
}

func textOf(labels []*typesv1.LabelPair) string {
	var text strings.Builder
	for i, label := range labels {
		if i > 0 {
			text.WriteString(", ")
		}
		fmt.Fprintf(&text, "%s=%q", label.Name, label.Value)
	}
	return "{" + text.String() + "}"
}

func valueOf(labels []*typesv1.LabelPair, name string) string {
	for _, label := range labels {
		if label.Name == name {
			return label.Value
		}
	}
	return ""
}

// bucket lets so many bytes pass a second, and so many at once.
type bucket struct {
	mu     sync.Mutex
	filled float64
	at     time.Time
}

func (b *bucket) take(l *limits, bytes int) error {
	if !l.IsRateLimited {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if b.at.IsZero() {
		b.filled = l.BurstBytes
	} else {
		b.filled = math.Min(l.BurstBytes, b.filled+now.Sub(b.at).Seconds()*l.RateBytes)
	}
	b.at = now
	if float64(bytes) > b.filled {
		return connect.NewError(connect.CodeResourceExhausted,
			fmt.Errorf("push rate limit (%.0f B) exceeded while adding %d B", l.RateBytes, bytes))
	}
	b.filled -= float64(bytes)
	return nil
}
