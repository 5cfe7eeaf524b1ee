//! The messages of a push, by the field numbers of `push/v1/push.proto` and `types/v1/types.proto` in
//! github.com/grafana/pyroscope/api (v1.6.0). Only what is sent: `annotations` are dropped by the server.
//!
//! A sample is cut in two around its profile's bytes, which are not copied: see `request.rs`.

/// `types.v1.LabelPair`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LabelPair {
    /// Label name.
    #[prost(string, tag = "1")]
    pub(super) name: String,
    /// Label value.
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// `push.v1.RawProfileSeries` without its samples.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SeriesLabels {
    /// Each name once.
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<LabelPair>,
}

/// `push.v1.RawSample` without its profile.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SampleId {
    /// UUID of the profile.
    #[prost(string, tag = "2")]
    pub(super) id: String,
}

/// Before each of `push.v1.PushRequest.series` (field 1, length-delimited).
pub(super) const KEY_OF_SERIES: u8 = 1 << 3 | 2;
/// Before each of `push.v1.RawProfileSeries.samples` (field 2, length-delimited).
pub(super) const KEY_OF_SAMPLE: u8 = 2 << 3 | 2;
/// Before `push.v1.RawSample.raw_profile` (field 1, length-delimited).
pub(super) const KEY_OF_RAW_PROFILE: u8 = 1 << 3 | 2;

/// The same messages whole, to read back what was written.
#[cfg(test)]
pub(super) mod whole {
    use super::LabelPair;

    /// `push.v1.PushRequest`.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::deliver::push) struct PushRequest {
        #[prost(message, repeated, tag = "1")]
        pub(in crate::deliver::push) series: Vec<RawProfileSeries>,
    }

    /// `push.v1.RawProfileSeries`.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::deliver::push) struct RawProfileSeries {
        #[prost(message, repeated, tag = "1")]
        pub(in crate::deliver::push) labels: Vec<LabelPair>,
        #[prost(message, repeated, tag = "2")]
        pub(in crate::deliver::push) samples: Vec<RawSample>,
    }

    /// `push.v1.RawSample`.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::deliver::push) struct RawSample {
        #[prost(bytes = "vec", tag = "1")]
        pub(in crate::deliver::push) raw_profile: Vec<u8>,
        #[prost(string, tag = "2")]
        pub(in crate::deliver::push) id: String,
    }
}
