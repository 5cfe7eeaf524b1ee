//! Series labels → as many and as long as the profile database takes: one label too many, and it refuses the profile.

use super::labels::Labels;
use super::rules::{SERIES_LABELS, SERVICE_NAME};

/// Pyroscope takes 30, of which one is `__name__`; one is left for whatever stands between us and it.
pub const LABELS_MAX: usize = 28;
/// Pyroscope's longest name of a label.
pub const NAME_BYTES_MAX: usize = 1024;
/// Pyroscope's longest value.
pub const VALUE_BYTES_MAX: usize = 2048;
/// What the service is called if `relabel_configs` leave none; the database would call it so, too.
pub const NO_SERVICE: &str = "unknown_service";

/// Cuts what is too long or too much; labels that are not ours go first, the last by name before others. True if anything was cut.
pub fn keep(labels: &mut Labels) -> bool {
    if labels.get(SERVICE_NAME).is_empty() {
        labels.set(SERVICE_NAME, NO_SERVICE);
    }
    let mut is_cut = false;
    let long: Vec<(String, String)> = labels
        .iter()
        .filter(|(_, value)| value.len() > VALUE_BYTES_MAX)
        .map(|(name, value)| {
            let end = value.floor_char_boundary(VALUE_BYTES_MAX);
            (name.to_owned(), value.get(..end).unwrap_or_default().to_owned())
        })
        .collect();
    for (name, value) in long {
        labels.set(name, value);
        is_cut = true;
    }
    let before = labels.len();
    labels.retain(|name| name.len() <= NAME_BYTES_MAX);
    if labels.len() > LABELS_MAX {
        let others: Vec<&str> =
            labels.iter().map(|(name, _)| name).filter(|name| !SERIES_LABELS.contains(name)).collect();
        let kept = LABELS_MAX.saturating_sub(labels.len() - others.len());
        let surplus: Vec<String> = others.iter().skip(kept).map(|&name| name.to_owned()).collect();
        surplus.iter().for_each(|name| labels.remove(name));
    }
    is_cut || labels.len() != before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_and_too_long_are_cut_and_our_own_stay() {
        let mut labels: Labels = (0..40).map(|i| (format!("a{i:02}"), "x".to_owned())).collect();
        labels.set(SERVICE_NAME, "é".repeat(2000));
        labels.set("x".repeat(2000), "long name");
        assert!(keep(&mut labels));
        assert_eq!(labels.len(), LABELS_MAX);
        assert_eq!(labels.get(SERVICE_NAME).len(), VALUE_BYTES_MAX);
        assert_eq!((labels.get("a26"), labels.get("a27")), ("x", ""));
        assert!(!keep(&mut labels), "twice is as once");
    }

    #[test]
    fn a_service_always_has_a_name() {
        let mut labels: Labels = [("instance", "a")].into_iter().collect();
        assert!(!keep(&mut labels));
        assert_eq!(labels.to_string(), r#"{instance="a", service_name="unknown_service"}"#);
    }
}
