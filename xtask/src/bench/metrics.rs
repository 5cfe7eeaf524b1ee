//! The text of `/metrics` → numbers by name and label.

use std::collections::BTreeMap;

/// Before every name.
const PREFIX: &str = "flamekeeper_";

/// One look.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics(Vec<Sample>);

#[derive(Clone, Debug)]
struct Sample {
    /// Without prefix.
    name: String,
    /// As they are written.
    labels: String,
    value: f64,
}

impl Metrics {
    pub(super) fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(sample).collect())
    }

    /// The sum over all labels; 0 if there is no such number.
    pub(super) fn sum(&self, name: &str) -> f64 {
        self.0.iter().filter(|sample| sample.name == name).map(|sample| sample.value).sum()
    }

    /// By the value of one label, summed over the others.
    pub(super) fn by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut by_value = BTreeMap::new();
        for sample in self.0.iter().filter(|sample| sample.name == name) {
            if let Some(value) = label_value(&sample.labels, label) {
                *by_value.entry(value.to_owned()).or_default() += sample.value;
            }
        }
        by_value
    }
}

/// A line that is no comment. Values of our labels have neither quotes nor backslashes.
fn sample(line: &str) -> Option<Sample> {
    let (key, value) = line.strip_prefix(PREFIX)?.rsplit_once(' ')?;
    let (name, labels) = key.split_once('{').unwrap_or((key, ""));
    Some(Sample { name: name.to_owned(), labels: labels.to_owned(), value: value.parse().ok()? })
}

fn label_value<'a>(labels: &'a str, label: &str) -> Option<&'a str> {
    labels.trim_end_matches('}').split("\",").find_map(|pair| {
        let (name, value) = pair.split_once("=\"")?;
        (name == label).then(|| value.trim_end_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP flamekeeper_losses What is missing.
# TYPE flamekeeper_losses counter
flamekeeper_losses_total{cause=\"ring_full\",endpoint=\"127.0.0.1:80\"} 3
flamekeeper_losses_total{cause=\"late\",endpoint=\"127.0.0.1:80\"} 0.5
flamekeeper_losses_total{cause=\"late\",endpoint=\"b\"} 1
flamekeeper_services 7
# EOF
";

    #[test]
    fn numbers_are_summed_by_name_and_by_label() {
        let metrics = Metrics::parse(TEXT);
        assert_eq!(metrics.sum("losses_total"), 4.5);
        assert_eq!(metrics.sum("services"), 7.0);
        assert_eq!(metrics.sum("losses"), 0.0);
        let by_cause = BTreeMap::from([("late".to_owned(), 1.5), ("ring_full".to_owned(), 3.0)]);
        assert_eq!(metrics.by("losses_total", "cause"), by_cause);
        assert_eq!(metrics.by("losses_total", "endpoint")["127.0.0.1:80"], 3.5);
        assert!(metrics.by("services", "cause").is_empty());
    }
}
