package main

import (
	"hash/crc32"

	"github.com/google/pprof/profile"
	pushv1 "github.com/grafana/pyroscope/api/gen/proto/go/push/v1"
	typesv1 "github.com/grafana/pyroscope/api/gen/proto/go/types/v1"
)

// received is a profile that was taken.
type received struct {
	// Order of arrival, from 0.
	Index  int               `json:"index"`
	Labels map[string]string `json:"labels"`
	ID     string            `json:"id"`
	// Times of the profile itself.
	TimeNanos     int64 `json:"time_nanos"`
	DurationNanos int64 `json:"duration_nanos"`
	// Distinct stacks; sum of the values of cpu/nanoseconds.
	Samples  int   `json:"samples"`
	CPUNanos int64 `json:"cpu_nanos"`
	// As type/unit.
	SampleTypes []string `json:"sample_types"`
	PeriodType  string   `json:"period_type"`
	Period      int64    `json:"period"`
	// Of each mapping, in order.
	BuildIDs  []string `json:"build_ids"`
	Functions int      `json:"functions"`
	// Labels on samples, which become series labels in the real one: there should be none.
	SampleLabels int `json:"sample_labels"`
	// Deepest stack.
	Depth int `json:"depth"`
	// Of the profile as it lay in the message, and unpacked.
	Bytes         int `json:"bytes"`
	UnpackedBytes int `json:"unpacked_bytes"`
	// Of the profile, unpacked: what stands at the end of a gzip file (RFC 1952).
	CRC32 uint32 `json:"crc32"`
	// Of the whole request as it came over the connection, with what the connection cost before it.
	WireBytes  int64             `json:"wire_bytes"`
	Connection int               `json:"connection"`
	Protocol   string            `json:"protocol"`
	Tenant     string            `json:"tenant"`
	Headers    map[string]string `json:"headers"`
	// An earlier profile of the same ID: this one was sent again.
	DuplicateOf *int `json:"duplicate_of"`
	// An earlier profile of the same series and millisecond, and another ID. Pyroscope's v1 storage takes both for one
	// profile and shows only one of them; its v2 storage adds them up.
	HiddenBy *int `json:"hidden_by"`
	// Whether we were told not to say that we have it.
	AnswerLost bool `json:"answer_lost"`

	raw []byte
}

// refusal is a push that was not taken, faults aside.
type refusal struct {
	Code    string            `json:"code"`
	Message string            `json:"message"`
	Labels  map[string]string `json:"labels"`
}

func describe(p *profile.Profile, labels []*typesv1.LabelPair, sample *pushv1.RawSample, unpacked []byte) *received {
	entry := &received{
		Labels:        map[string]string{},
		ID:            sample.ID,
		TimeNanos:     p.TimeNanos,
		DurationNanos: p.DurationNanos,
		Samples:       len(p.Sample),
		SampleTypes:   []string{},
		Period:        p.Period,
		BuildIDs:      []string{},
		Functions:     len(p.Function),
		Bytes:         len(sample.RawProfile),
		UnpackedBytes: len(unpacked),
		CRC32:         crc32.ChecksumIEEE(unpacked),
		raw:           sample.RawProfile,
	}
	for _, label := range labels {
		entry.Labels[label.Name] = label.Value
	}
	cpu := -1
	for i, kind := range p.SampleType {
		entry.SampleTypes = append(entry.SampleTypes, kind.Type+"/"+kind.Unit)
		if kind.Type == "cpu" && kind.Unit == "nanoseconds" {
			cpu = i
		}
	}
	if p.PeriodType != nil {
		entry.PeriodType = p.PeriodType.Type + "/" + p.PeriodType.Unit
	}
	for _, mapping := range p.Mapping {
		entry.BuildIDs = append(entry.BuildIDs, mapping.BuildID)
	}
	for _, sample := range p.Sample {
		entry.SampleLabels += len(sample.Label) + len(sample.NumLabel)
		entry.Depth = max(entry.Depth, len(sample.Location))
		if cpu >= 0 {
			entry.CPUNanos += sample.Value[cpu]
		}
	}
	return entry
}
