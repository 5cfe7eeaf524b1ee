//! The file formats: their names, the endings that ask for them, and the one place that picks an encoder.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::str::FromStr;

use super::{firefox, folded, pprof, speedscope, svg};
use crate::aggregate::profile::Profile;

/// What a profile can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Gzipped protobuf, for `go tool pprof` and every profile database.
    Pprof,
    /// A line of text a stack, for scripts and flame graph tools.
    Folded,
    /// A flame graph to open in a browser.
    Svg,
    /// The Firefox Profiler's processed format, with a time axis.
    Firefox,
    /// For speedscope.
    Speedscope,
}

/// A `--format` that does not exist.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown format {name:?}; known are {}", Format::names())]
pub struct UnknownFormat {
    /// What was asked for.
    pub name: String,
}

/// Why a profile could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The format has a time axis and the profile was aggregated without one.
    #[error("the format {format} needs single samples with their times, and none were kept")]
    NoTimeline {
        /// The format.
        format: Format,
    },
    /// The writer failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Format {
    /// Every format, pprof first.
    pub const ALL: &[Self] = &[Self::Pprof, Self::Folded, Self::Svg, Self::Firefox, Self::Speedscope];

    /// Its name for `--format`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pprof => "pprof",
            Self::Folded => "folded",
            Self::Svg => "svg",
            Self::Firefox => "firefox",
            Self::Speedscope => "speedscope",
        }
    }

    /// The endings of file names that ask for it.
    pub const fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Pprof => &[".pb.gz", ".pprof"],
            Self::Folded => &[".folded"],
            Self::Svg => &[".svg"],
            Self::Firefox => &[".json"],
            Self::Speedscope => &[".speedscope.json"],
        }
    }

    /// The format that the longest matching ending of a file's name asks for.
    pub fn of_path(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let matching = |format: &Self| {
            format.endings().iter().filter(|ending| name.ends_with(**ending)).map(|ending| ending.len()).max()
        };
        Self::ALL.iter().copied().filter(|format| matching(format).is_some()).max_by_key(matching)
    }

    /// Whether it wants [`Profile::timeline`]; ask before sampling.
    pub const fn needs_timeline(self) -> bool {
        matches!(self, Self::Firefox)
    }

    /// Whether it would garble a terminal.
    pub const fn is_binary(self) -> bool {
        matches!(self, Self::Pprof)
    }

    /// All names, for messages.
    pub fn names() -> String {
        Self::ALL.iter().map(|format| format.name()).collect::<Vec<_>>().join(", ")
    }

    /// All endings, for messages.
    pub fn all_endings() -> String {
        Self::ALL.iter().flat_map(|format| format.endings()).copied().collect::<Vec<_>>().join(", ")
    }

    /// Writes a profile. Buffering is the caller's.
    pub fn encode(self, profile: &Profile, out: &mut dyn Write) -> Result<(), EncodeError> {
        match (self, &profile.timeline) {
            (Self::Pprof, _) => {
                pprof::write(profile, pprof::Reader::Tools, out)?;
            }
            (Self::Folded, _) => folded::write(profile, out)?,
            (Self::Svg, _) => svg::write(profile, out)?,
            (Self::Firefox, Some(timeline)) => firefox::write(profile, timeline, out)?,
            (Self::Firefox, None) => return Err(EncodeError::NoTimeline { format: self }),
            (Self::Speedscope, _) => speedscope::write(profile, out)?,
        }
        Ok(())
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        let found = Self::ALL.iter().copied().find(|format| format.name() == name);
        found.ok_or_else(|| UnknownFormat { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_ending_decides() {
        let of = |path: &str| Format::of_path(Path::new(path));
        assert_eq!(of("a/host.pb.gz"), Some(Format::Pprof));
        assert_eq!(of("host.pprof"), Some(Format::Pprof));
        assert_eq!(of("x.folded"), Some(Format::Folded));
        assert_eq!(of("X.SVG"), Some(Format::Svg));
        assert_eq!(of("trace.json"), Some(Format::Firefox));
        assert_eq!(of("trace.speedscope.json"), Some(Format::Speedscope));
        assert_eq!(of("trace.pb"), None);
        assert_eq!(of("svg"), None);
        assert_eq!(of("/dev/full"), None);
        assert_eq!(of(".."), None);
    }

    #[test]
    fn names_lead_back_to_their_format() {
        for &format in Format::ALL {
            assert_eq!(format.name().parse(), Ok(format));
        }
        let unknown = "perf".parse::<Format>().unwrap_err();
        assert_eq!(
            unknown.to_string(),
            r#"unknown format "perf"; known are pprof, folded, svg, firefox, speedscope"#
        );
    }
}
