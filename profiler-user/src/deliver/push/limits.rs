//! What the profile database takes of one profile: constants for those who build profiles, and labels cut to fit.
//!
//! Pyroscope's defaults, each with its name in the configuration of version 2.2 (`pkg/validation/limits.go`); an operator may
//! have raised or lowered them. What is over one is refused whole, so we stay below.

use crate::attribute::labels::Labels;

/// Samples (distinct stacks) in a profile: `max_profile_stacktrace_samples`. More are refused with 400.
pub const MAX_SAMPLES: usize = 16_000;

/// Bytes of a profile before compression that we aim for, unless configured otherwise.
///
/// The database takes 4 MiB (`max_profile_size_bytes`), but what is over the tenant's burst
/// (`ingestion_burst_size_mb`, 2 MB with its labels) is answered 429 for ever.
pub const DEFAULT_MAX_UNCOMPRESSED_BYTES: usize = 3 << 19;

/// Frames of a stack: `max_profile_stacktrace_depth`. The server cuts off the leaf's side of a deeper one in silence.
pub const MAX_STACK_DEPTH: usize = 1_000;

/// Bytes of a function's or a file's name: `max_profile_symbol_value_length`. The server keeps the end in silence.
pub const MAX_SYMBOL_BYTES: usize = 65_535;

/// Labels of a series, `__name__` among them: `max_label_names_per_series`.
pub const MAX_LABELS: usize = 30;

/// Bytes of a label's name: `max_label_name_length`.
pub const MAX_LABEL_NAME_BYTES: usize = 1_024;

/// Bytes of a label's value: `max_label_value_length`.
pub const MAX_LABEL_VALUE_BYTES: usize = 2_048;

/// How old a profile may be, by its `time_nanos`: `reject_older_than`.
pub const MAX_AGE: std::time::Duration = std::time::Duration::from_secs(60 * 60);

/// How far ahead of the server's clock it may be: `reject_newer_than`.
pub const MAX_AHEAD: std::time::Duration = std::time::Duration::from_secs(10 * 60);

/// Labels that stay when there are too many, before all others.
const KEPT_FIRST: [&str; 6] = ["service_name", "namespace", "pod", "container", "node", "instance"];

/// What was done to labels so that they fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelTrims {
    /// Names that were cut short.
    pub names: u64,
    /// Values that were cut short.
    pub values: u64,
    /// Labels that were left out: too many, or a cut name was another label's already.
    pub dropped: u64,
}

/// Cuts labels to what the database takes: long names and values at a character's boundary, and beyond
/// [`MAX_LABELS`] (one of which is `__name__`, which the push adds) the last by name go, those that every
/// view is built on never.
pub fn fit_labels(labels: &mut Labels) -> LabelTrims {
    let mut trims = LabelTrims::default();
    let is_too_long = |(name, value): (&str, &str)| {
        name.len() > MAX_LABEL_NAME_BYTES || value.len() > MAX_LABEL_VALUE_BYTES
    };
    if labels.iter().any(is_too_long) {
        *labels = cut(labels, &mut trims);
    }
    let mut excess = labels.len().saturating_sub(MAX_LABELS - 1);
    if excess > 0 {
        trims.dropped = trims.dropped.saturating_add(u64::try_from(excess).unwrap_or(u64::MAX));
        let mut names: Vec<String> = labels.iter().map(|(name, _)| name.to_owned()).collect();
        names.retain(|name| !KEPT_FIRST.contains(&name.as_str()));
        while let Some(last) = names.pop().filter(|_| excess > 0) {
            labels.remove(&last);
            excess -= 1;
        }
    }
    trims
}

fn cut(labels: &Labels, trims: &mut LabelTrims) -> Labels {
    let mut fitting = Labels::default();
    for (name, value) in labels.iter() {
        let short_name = prefix(name, MAX_LABEL_NAME_BYTES);
        let short_value = prefix(value, MAX_LABEL_VALUE_BYTES);
        let is_cut = short_name.len() < name.len();
        if is_cut && (!labels.get(short_name).is_empty() || !fitting.get(short_name).is_empty()) {
            trims.dropped += 1;
            continue;
        }
        trims.names += u64::from(is_cut);
        trims.values += u64::from(short_value.len() < value.len());
        fitting.set(short_name, short_value);
    }
    fitting
}

/// The longest start of a text that has at most `max_bytes` and ends between two characters.
fn prefix(text: &str, max_bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(max_bytes)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_fit_stay() {
        let mut labels: Labels = [("service_name", "shop"), ("pod", "shop-1")].into_iter().collect();
        let before = labels.clone();
        assert_eq!(fit_labels(&mut labels), LabelTrims::default());
        assert_eq!(labels, before);
    }

    #[test]
    fn long_names_and_values_are_cut_between_characters() {
        // Two bytes a character, and an odd limit is reached by the first byte: 2,047 + "é" would be 2,049.
        let value = format!("x{}", "é".repeat(2_000));
        let name = "n".repeat(1_500);
        let mut labels: Labels =
            [("service_name", value.as_str()), (name.as_str(), "short")].into_iter().collect();
        assert_eq!(fit_labels(&mut labels), LabelTrims { names: 1, values: 1, dropped: 0 });
        assert_eq!(labels.get("service_name"), format!("x{}", "é".repeat(1_023)));
        assert_eq!(labels.get("service_name").len(), 2_047);
        assert_eq!(labels.get(&"n".repeat(1_024)), "short");
    }

    #[test]
    fn two_names_that_are_cut_to_the_same_are_one_label() {
        let names = [format!("{}a", "n".repeat(1_024)), format!("{}b", "n".repeat(1_024))];
        let mut labels: Labels = names.iter().map(|name| (name.as_str(), "v")).collect();
        assert_eq!(fit_labels(&mut labels), LabelTrims { names: 1, values: 0, dropped: 1 });
        assert_eq!(labels.len(), 1);
    }

    #[test]
    fn of_too_many_labels_the_views_keep_theirs() {
        let mut labels: Labels = (0..40).map(|n| (format!("a{n:02}"), "v".to_owned())).collect();
        for kept in KEPT_FIRST {
            labels.set(kept, "v");
        }
        assert_eq!(fit_labels(&mut labels), LabelTrims { names: 0, values: 0, dropped: 17 });
        assert_eq!(labels.len(), MAX_LABELS - 1);
        assert!(KEPT_FIRST.iter().all(|kept| labels.get(kept) == "v"));
        assert_eq!((labels.get("a22"), labels.get("a23")), ("v", ""));
    }
}
