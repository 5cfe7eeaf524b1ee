//! pprof's messages, by the field numbers of `proto/profile.proto` in github.com/google/pprof.
//!
//! Text is an index into [`Profile::string_table`], whose entry 0 is empty; ids begin at 1.

/// A profile, or a piece of one: encoded pieces one after the other are the encoding of the whole.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Profile {
    /// What each of a sample's values is.
    #[prost(message, repeated, tag = "1")]
    pub(super) sample_type: Vec<ValueType>,
    /// The samples.
    #[prost(message, repeated, tag = "2")]
    pub(super) sample: Vec<Sample>,
    /// Files; the first counts as the main one.
    #[prost(message, repeated, tag = "3")]
    pub(super) mapping: Vec<Mapping>,
    /// Addresses.
    #[prost(message, repeated, tag = "4")]
    pub(super) location: Vec<Location>,
    /// Functions.
    #[prost(message, repeated, tag = "5")]
    pub(super) function: Vec<Function>,
    /// All text.
    #[prost(string, repeated, tag = "6")]
    pub(super) string_table: Vec<String>,
    /// Start, nanoseconds since 1970.
    #[prost(int64, tag = "9")]
    pub(super) time_nanos: i64,
    /// How long was sampled.
    #[prost(int64, tag = "10")]
    pub(super) duration_nanos: i64,
    /// Unit of `period`.
    #[prost(message, optional, tag = "11")]
    pub(super) period_type: Option<ValueType>,
    /// Events between two samples; 0 if that varies.
    #[prost(int64, tag = "12")]
    pub(super) period: i64,
    /// Text for people.
    #[prost(int64, repeated, tag = "13")]
    pub(super) comment: Vec<i64>,
    /// Type of the value that is shown unless another is asked for.
    #[prost(int64, tag = "14")]
    pub(super) default_sample_type: i64,
}

/// A kind of value with its unit.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ValueType {
    /// Such as `cpu`.
    #[prost(int64, tag = "1")]
    pub(super) r#type: i64,
    /// Such as `nanoseconds`.
    #[prost(int64, tag = "2")]
    pub(super) unit: i64,
}

/// A stack with its values.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Sample {
    /// Ids of locations, leaf first.
    #[prost(uint64, repeated, tag = "1")]
    pub(super) location_id: Vec<u64>,
    /// As many as there are sample types.
    #[prost(int64, repeated, tag = "2")]
    pub(super) value: Vec<i64>,
    /// What else is known of the sample.
    #[prost(message, repeated, tag = "3")]
    pub(super) label: Vec<Label>,
}

/// A text or a number that goes with a sample.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Label {
    /// Its name.
    #[prost(int64, tag = "1")]
    pub(super) key: i64,
    /// Text, 0 if it is a number.
    #[prost(int64, tag = "2")]
    pub(super) str: i64,
    /// Number.
    #[prost(int64, tag = "3")]
    pub(super) num: i64,
}

/// A file that code ran in.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Mapping {
    /// Id.
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    /// First address.
    #[prost(uint64, tag = "2")]
    pub(super) memory_start: u64,
    /// End of the addresses.
    #[prost(uint64, tag = "3")]
    pub(super) memory_limit: u64,
    /// Offset in the file of the first address.
    #[prost(uint64, tag = "4")]
    pub(super) file_offset: u64,
    /// Path.
    #[prost(int64, tag = "5")]
    pub(super) filename: i64,
    /// Build id.
    #[prost(int64, tag = "6")]
    pub(super) build_id: i64,
    /// Whether its addresses have been given function names.
    #[prost(bool, tag = "7")]
    pub(super) has_functions: bool,
    /// … source files.
    #[prost(bool, tag = "8")]
    pub(super) has_filenames: bool,
    /// … line numbers.
    #[prost(bool, tag = "9")]
    pub(super) has_line_numbers: bool,
    /// … the functions that are inlined there.
    #[prost(bool, tag = "10")]
    pub(super) has_inline_frames: bool,
}

/// A code address.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Location {
    /// Id.
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    /// Id of its mapping, 0 if it has none.
    #[prost(uint64, tag = "2")]
    pub(super) mapping_id: u64,
    /// Address, within the mapping.
    #[prost(uint64, tag = "3")]
    pub(super) address: u64,
    /// Innermost inlined function first.
    #[prost(message, repeated, tag = "4")]
    pub(super) line: Vec<Line>,
}

/// A place in a function.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Line {
    /// Id of the function.
    #[prost(uint64, tag = "1")]
    pub(super) function_id: u64,
    /// Source line, 0 if unknown.
    #[prost(int64, tag = "2")]
    pub(super) line: i64,
}

/// A function.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Function {
    /// Id.
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    /// For people.
    #[prost(int64, tag = "2")]
    pub(super) name: i64,
    /// As the linker knows it.
    #[prost(int64, tag = "3")]
    pub(super) system_name: i64,
    /// Source file.
    #[prost(int64, tag = "4")]
    pub(super) filename: i64,
    /// First line.
    #[prost(int64, tag = "5")]
    pub(super) start_line: i64,
}
