//! `?q=…&show=…&sort=…&page=…` → which targets a page lists, in which order. Bad values are the default: a page is shown
//! whatever was typed into its address.

use std::cmp::Ordering;

use super::html::percent;
use super::selector::Selector;
use super::targets::{Target, TargetsSnapshot};

/// Rows of a page.
pub(super) const PAGE_ROWS: usize = 500;

/// What a target is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Pid,
    Executable,
    Service,
    Rule,
    Language,
    Samples,
    Complete,
    Dropped,
}

impl Column {
    pub(super) const ALL: [Self; 8] = [
        Self::Service,
        Self::Pid,
        Self::Executable,
        Self::Language,
        Self::Rule,
        Self::Samples,
        Self::Complete,
        Self::Dropped,
    ];

    /// In the address.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pid => "pid",
            Self::Executable => "executable",
            Self::Service => "service",
            Self::Rule => "rule",
            Self::Language => "language",
            Self::Samples => "samples",
            Self::Complete => "complete",
            Self::Dropped => "dropped",
        }
    }

    /// Whether the first click sorts downwards: most of something is asked for more often than least.
    pub(super) const fn is_downwards_first(self) -> bool {
        matches!(self, Self::Samples | Self::Dropped)
    }

    /// Whether its values are numbers.
    pub(super) const fn is_number(self) -> bool {
        matches!(self, Self::Pid | Self::Samples | Self::Complete)
    }

    fn compare(self, a: &Target, b: &Target) -> Ordering {
        match self {
            Self::Pid => a.pid.cmp(&b.pid),
            Self::Executable => a.executable.cmp(&b.executable),
            Self::Service => a.service().cmp(b.service()),
            Self::Rule => a.rule.cmp(&b.rule),
            Self::Language => a.language.cmp(&b.language),
            Self::Samples => a.samples.cmp(&b.samples),
            // Unknown after the known ones.
            Self::Complete => a.complete_permille.unwrap_or(1_001).cmp(&b.complete_permille.unwrap_or(1_001)),
            Self::Dropped => a.dropped.cmp(&b.dropped),
        }
    }
}

/// Which of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Show {
    #[default]
    All,
    Sampled,
    Dropped,
}

impl Show {
    pub(super) const ALL: [Self; 3] = [Self::All, Self::Sampled, Self::Dropped];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Sampled => "sampled",
            Self::Dropped => "dropped",
        }
    }
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TargetsQuery {
    pub(super) text: String,
    pub(super) show: Show,
    pub(super) sort: Column,
    pub(super) downwards: bool,
    /// From 1.
    pub(super) page: usize,
}

impl Default for TargetsQuery {
    fn default() -> Self {
        Self { text: String::new(), show: Show::All, sort: Column::Samples, downwards: true, page: 1 }
    }
}

/// What fits a query.
pub(super) struct Found<'a> {
    /// All that fit, in order.
    pub(super) targets: Vec<&'a Target>,
    /// What is wrong with matchers in the query; nothing fits then.
    pub(super) mistake: Option<String>,
}

impl TargetsQuery {
    pub(super) fn read(query: &str) -> Self {
        let mut read = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "q" => read.text = value.trim().to_owned(),
                "show" => read.show = named(Show::ALL, Show::name, &value).unwrap_or_default(),
                "sort" => {
                    let (column, downwards) = match value.strip_prefix('-') {
                        Some(column) => (column, true),
                        None => (&*value, false),
                    };
                    if let Some(column) = named(Column::ALL, Column::name, column) {
                        (read.sort, read.downwards) = (column, downwards);
                    }
                }
                "page" => read.page = value.parse().unwrap_or(1).max(1),
                _ => {}
            }
        }
        read
    }

    /// The same page sorted by a column: again upwards or downwards if it is already.
    pub(super) fn sorted_by(&self, column: Column) -> Self {
        let downwards = if self.sort == column { !self.downwards } else { column.is_downwards_first() };
        Self { sort: column, downwards, page: 1, ..self.clone() }
    }

    /// As a query again, defaults left out.
    pub(super) fn to_query(&self) -> String {
        let default = Self::default();
        let mut parts = Vec::new();
        if !self.text.is_empty() {
            parts.push(format!("q={}", percent(&self.text)));
        }
        if self.show != default.show {
            parts.push(format!("show={}", self.show.name()));
        }
        if (self.sort, self.downwards) != (default.sort, default.downwards) {
            parts.push(format!("sort={}", self.sort_name()));
        }
        if self.page != default.page {
            parts.push(format!("page={}", self.page));
        }
        parts.join("&")
    }

    pub(super) fn sort_name(&self) -> String {
        format!("{}{}", if self.downwards { "-" } else { "" }, self.sort.name())
    }

    /// What fits, in order. A text that begins with `{` is matchers, any other is looked for everywhere.
    pub(super) fn find<'a>(&self, snapshot: &'a TargetsSnapshot) -> Found<'a> {
        let mut selector = Selector::default();
        let mut mistake = None;
        let mut word = String::new();
        if self.text.starts_with('{') {
            mistake = selector.add_matchers(&self.text).err().map(|error| error.to_string());
        } else {
            word = self.text.to_lowercase();
        }
        let is_shown = |target: &&Target| match self.show {
            Show::All => true,
            Show::Sampled => target.dropped.is_none(),
            Show::Dropped => target.dropped.is_some(),
        };
        let fits = |target: &&Target| {
            mistake.is_none()
                && selector.matches(&target.labels, target.pid)
                && (word.is_empty() || has_word(target, &word))
        };
        let mut targets: Vec<_> = snapshot.targets().iter().filter(is_shown).filter(fits).collect();
        targets.sort_by(|a, b| {
            let order = self.sort.compare(a, b);
            if self.downwards { order.reverse() } else { order }.then(a.pid.cmp(&b.pid))
        });
        Found { targets, mistake }
    }
}

fn named<T: Copy>(all: impl IntoIterator<Item = T>, name: fn(T) -> &'static str, wanted: &str) -> Option<T> {
    all.into_iter().find(|&one| name(one) == wanted)
}

fn has_word(target: &Target, word: &str) -> bool {
    let has = |text: &str| text.to_lowercase().contains(word);
    target.pid.to_string() == word
        || has(&target.executable)
        || has(&target.rule)
        || has(&target.language)
        || target.dropped.as_deref().is_some_and(has)
        || target.labels.iter().any(|(name, value)| has(&format!("{name}={value}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::serve::tests::fixture::snapshot;

    fn pids(query: &str) -> Vec<u32> {
        let snapshot = snapshot();
        TargetsQuery::read(query).find(&snapshot).targets.iter().map(|target| target.pid).collect()
    }

    #[test]
    fn targets_are_found_and_sorted() {
        assert_eq!(pids(""), [4242, 1, 77, 9], "most samples first");
        assert_eq!(pids("sort=pid"), [1, 9, 77, 4242]);
        assert_eq!(pids("sort=-pid"), [4242, 77, 9, 1]);
        assert_eq!(pids("sort=complete"), [4242, 1, 9, 77], "unknown last");
        assert_eq!(pids("show=dropped"), [77]);
        assert_eq!(pids("show=sampled&q=SYSTEMD"), [1]);
        assert_eq!(pids("q=77"), [77]);
        assert_eq!(pids("q=namespace%3Dprod"), [4242]);
        assert_eq!(pids("q=%7Blanguage%3D%22go%22%7D"), [4242]);
        assert_eq!(pids("show=nonsense&sort=nonsense&page=nonsense&x=y").len(), 4);
    }

    #[test]
    fn mistaken_matchers_find_nothing_and_say_so() {
        let snapshot = snapshot();
        let found = TargetsQuery::read("q=%7Ba").find(&snapshot);
        assert!(found.targets.is_empty());
        assert_eq!(found.mistake.unwrap(), "match: =, !=, =~ or !~ expected at character 3");
    }

    #[test]
    fn a_query_is_written_as_it_was_read() {
        for query in ["", "q=a%26b%20c", "show=dropped&sort=service", "q=%7Ba%7D&sort=-pid&page=3"] {
            assert_eq!(TargetsQuery::read(query).to_query(), query);
        }
        assert_eq!(TargetsQuery::read("page=0").page, 1);
        let by_samples = TargetsQuery::default();
        assert_eq!(by_samples.sorted_by(Column::Samples).to_query(), "sort=samples");
        assert_eq!(by_samples.sorted_by(Column::Pid).to_query(), "sort=pid");
        assert_eq!(by_samples.sorted_by(Column::Pid).sorted_by(Column::Pid).to_query(), "sort=-pid");
    }
}
