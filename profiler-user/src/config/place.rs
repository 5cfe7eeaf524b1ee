//! Where a value was written: a line of the file, a variable, an option, nowhere.
//!
//! Turns byte offsets of a text into lines and columns. Reads nothing.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Where a value comes from. Lines and columns count from 1; columns count characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nobody wrote it.
    Default,
    /// A line of the file.
    File {
        /// As it was given.
        path: PathBuf,
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// The file as a whole.
    WholeFile(PathBuf),
    /// A variable, by its name.
    Variable(String),
    /// An option, by its name with the dashes.
    Option(String),
    /// A column of a text in TOML that a variable or an option holds.
    Inside {
        /// Name of the variable, or of the option with its dashes.
        name: String,
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::WholeFile(path) => write!(f, "{}", path.display()),
            Self::Variable(name) | Self::Option(name) => f.write_str(name),
            Self::Inside { name, line: 1, column } => write!(f, "{name} (at character {column})"),
            Self::Inside { name, line, column } => write!(f, "{name} (line {line}, column {column})"),
        }
    }
}

/// A text in TOML, and whose it is.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: SourceName,
    pub(super) text: String,
}

/// Whose text it is.
#[derive(Debug)]
pub(super) enum SourceName {
    /// The configuration file's.
    File(PathBuf),
    /// The value of an option or of a variable.
    Value(String),
}

impl Source {
    pub(super) fn file(path: &Path, text: String) -> Self {
        Self { name: SourceName::File(path.to_owned()), text }
    }

    /// Where a span of the text begins.
    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        match &self.name {
            SourceName::File(path) => Place::File { path: path.clone(), line, column },
            SourceName::Value(name) => Place::Inside { name: name.clone(), line, column },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_and_by_characters() {
        let source = Source::file(Path::new("a.toml"), "a = 1\né = \"x\"\n".to_owned());
        let at = |start| source.place(&(start..start + 1)).to_string();
        assert_eq!([at(0), at(4), at(6), at(9)], ["a.toml:1:1", "a.toml:1:5", "a.toml:2:1", "a.toml:2:3"]);
        assert_eq!(at(900), "a.toml:3:1");
    }
}
