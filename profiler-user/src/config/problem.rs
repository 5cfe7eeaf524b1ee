//! What can be wrong with a configuration, with its place and its key; all of it at once.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::place::Place;

/// One thing that is wrong, or odd.
#[derive(Debug)]
pub struct Problem {
    /// Where it was written.
    pub place: Place,
    /// The key's path, such as `push[0].tls.ca_file`; empty for the file as a whole.
    pub key: String,
    /// What it is.
    pub what: Wrong,
}

/// What is wrong with a key or a file.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// The file is longer than a configuration can be.
    #[error("is larger than {max_bytes} bytes: is this the right file?")]
    TooLarge {
        /// What is allowed.
        max_bytes: u64,
    },
    /// The file, or a variable, is not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// Not TOML.
    #[error("not TOML: {0}")]
    Syntax(String),
    /// No such key.
    #[error("there is no such key{hint}")]
    Unknown {
        /// What may have been meant, as the end of a sentence.
        hint: String,
    },
    /// No key has this variable.
    #[error("nobody reads this variable{hint}")]
    UnknownVariable {
        /// What may have been meant, as the end of a sentence.
        hint: String,
    },
    /// A value of another type.
    #[error("expected {expected}, found {found}")]
    Type {
        /// What would be right, with an article.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A value that does not do.
    #[error("{0}")]
    Value(String),
    /// A value out of bounds.
    #[error("{value} is out of bounds: must be {range}")]
    Range {
        /// What was given.
        value: String,
        /// What may be, for people.
        range: String,
    },
    /// Nothing where something has to be.
    #[error("is missing")]
    Missing,
    /// Two keys that exclude each other, or a key that needs another.
    #[error("{0}")]
    Conflict(String),
    /// A file that the configuration names cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// As it is written.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// `config.toml:3:8: sampling.rate: 0 is out of bounds: must be from 1 to 999`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, self.key.as_str()) {
            (Place::Default, "") => write!(f, "{}", self.what),
            (Place::Default, key) => write!(f, "{key}: {}", self.what),
            (place @ Place::WholeFile(_), "") => write!(f, "{place} {}", self.what),
            (place, "") => write!(f, "{place}: {}", self.what),
            (place, key) => write!(f, "{place}: {key}: {}", self.what),
        }
    }
}

/// Lines that a message has at most: a file of another kind is wrong in thousands of places.
const LINES_MAX: usize = 50;

/// Everything that is wrong, a line each.
#[derive(Debug)]
pub struct ConfigErrors(pub Vec<Problem>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().take(LINES_MAX).enumerate() {
            write!(f, "{}{problem}", if position == 0 { "" } else { "\n" })?;
        }
        match self.0.len().saturating_sub(LINES_MAX) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for ConfigErrors {}

/// What a message is about: a key, and where its value is written.
#[derive(Clone, Debug)]
pub(super) struct At {
    pub(super) key: String,
    pub(super) place: Place,
}

/// Gathers what is wrong while the rest is read on.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

impl Report {
    /// In the order of the file; what is not in it comes after.
    pub(super) fn sort(&mut self) {
        let order = |problem: &Problem| match &problem.place {
            Place::WholeFile(_) => (0, 0, 0),
            Place::File { line, column, .. } => (1, *line, *column),
            _ => (2, 0, 0),
        };
        self.errors.sort_by_key(order);
        self.warnings.sort_by_key(order);
        // The parser may say a thing again for each bracket that is open.
        self.errors.dedup_by_key(|problem| problem.to_string());
    }

    pub(super) fn error(&mut self, at: At, what: Wrong) {
        self.errors.push(Problem { place: at.place, key: at.key, what });
    }

    pub(super) fn warning(&mut self, at: At, what: Wrong) {
        self.warnings.push(Problem { place: at.place, key: at.key, what });
    }
}
