//! Numbers, times, sizes, texts, paths, choices, and any of them or nothing.

use std::cmp::Ordering;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::ValueEnum;

use super::{InFile, Value};
use crate::attribute::relabel::Action;
use crate::cli::{self, UnwindArg};
use crate::config::document::Node;
use crate::config::keys::{LogFormat, LogLevel, Switch};
use crate::config::problem::Report;
use crate::sample::Hertz;

impl Value for Hertz {
    const EXPECTED: &'static str = "a whole number without quotes, such as 19";
    const IN_FILE: &'static [InFile] = &[InFile::Whole];

    fn from_text(text: &str) -> Result<Self, String> {
        let bounds = || format!("{text} is out of bounds: must be from 1 to {}", Self::MAX);
        whole(text)?.try_into().ok().and_then(Self::new).ok_or_else(bounds)
    }

    fn to_toml(&self) -> Option<toml::Value> {
        Some(i64::from(self.get()).into())
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        self.partial_cmp(other)
    }
}

/// A whole number of whatever size: what is too large for its key is told by the key's bounds.
fn whole(text: &str) -> Result<i128, String> {
    text.parse().map_err(|_| format!("{text:?} is not a whole number"))
}

impl Value for u32 {
    const EXPECTED: &'static str = "a whole number without quotes";
    const IN_FILE: &'static [InFile] = &[InFile::Whole];

    fn from_text(text: &str) -> Result<Self, String> {
        whole(text)?
            .try_into()
            .map_err(|_| format!("{text} is out of bounds: must be from 0 to {}", Self::MAX))
    }

    fn to_toml(&self) -> Option<toml::Value> {
        Some(i64::from(*self).into())
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        self.partial_cmp(other)
    }
}

impl Value for u64 {
    const EXPECTED: &'static str = "a whole number without quotes";
    const IN_FILE: &'static [InFile] = &[InFile::Whole];

    fn from_text(text: &str) -> Result<Self, String> {
        // TOML has no whole numbers beyond this.
        let number = whole(text)?;
        let number = i64::try_from(number).ok().and_then(|number| Self::try_from(number).ok());
        number.ok_or_else(|| format!("{text} is out of bounds: must be from 0 to {}", i64::MAX))
    }

    fn to_toml(&self) -> Option<toml::Value> {
        i64::try_from(*self).ok().map(Into::into)
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        self.partial_cmp(other)
    }
}

impl Value for f64 {
    const EXPECTED: &'static str = "a number without quotes, such as 1.5";
    const IN_FILE: &'static [InFile] = &[InFile::Fraction, InFile::Whole];

    fn from_text(text: &str) -> Result<Self, String> {
        let number = text.trim_end_matches('%').trim_end().replace('_', "").parse().ok();
        number.filter(|number: &Self| number.is_finite()).ok_or_else(|| format!("{text:?} is not a number"))
    }

    fn to_toml(&self) -> Option<toml::Value> {
        Some((*self).into())
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        self.partial_cmp(other)
    }
}

impl Value for bool {
    const EXPECTED: &'static str = "true or false, without quotes";
    const IN_FILE: &'static [InFile] = &[InFile::TrueOrFalse];
    const WITHOUT_VALUE: Option<&'static str> = Some("true");

    fn from_text(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(format!("{text:?} is neither true nor false")),
        }
    }

    fn to_toml(&self) -> Option<toml::Value> {
        Some((*self).into())
    }

    fn choices() -> Vec<String> {
        ["true", "false"].map(str::to_owned).into()
    }
}

impl Value for Duration {
    const EXPECTED: &'static str = "a time such as \"15s\"";
    const IN_FILE: &'static [InFile] = &[InFile::Text, InFile::Whole];

    fn from_text(text: &str) -> Result<Self, String> {
        cli::duration(text).map_err(|_| format!("{text:?} is not a time; write 15s, 500ms or 1m 30s"))
    }

    fn to_toml(&self) -> Option<toml::Value> {
        Some(humantime::format_duration(*self).to_string().into())
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        self.partial_cmp(other)
    }
}

impl Value for ByteSize {
    const EXPECTED: &'static str = "a size such as \"64MiB\"";
    const IN_FILE: &'static [InFile] = &[InFile::Text, InFile::Whole];

    fn from_text(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a size; write 64MiB, 1.5GiB or a number of bytes");
        text.trim().parse().map_err(|_| wrong())
    }

    fn to_toml(&self) -> Option<toml::Value> {
        let bytes = self.as_u64();
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        // The largest unit that it is a whole number of, so that nothing is rounded.
        let exact = units.into_iter().find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
        Some(
            exact
                .map_or_else(|| format!("{bytes}B"), |(shift, unit)| format!("{}{unit}", bytes >> shift))
                .into(),
        )
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        self.partial_cmp(other)
    }
}

impl Value for String {
    const EXPECTED: &'static str = "a text in quotes";

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn to_toml(&self) -> Option<toml::Value> {
        Some(self.clone().into())
    }
}

impl Value for PathBuf {
    const EXPECTED: &'static str = "a path in quotes";

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("is empty: a path is needed".to_owned()),
            text if text.contains('\0') => Err("has a zero byte in it".to_owned()),
            text => Ok(text.into()),
        }
    }

    fn to_toml(&self) -> Option<toml::Value> {
        Some(self.to_string_lossy().into_owned().into())
    }
}

/// Nothing, which is written as an empty text, or something.
impl<T: Value> Value for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    const IN_FILE: &'static [InFile] = T::IN_FILE;

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::from_text(text).map(Some) }
    }

    fn to_toml(&self) -> Option<toml::Value> {
        self.as_ref().and_then(T::to_toml)
    }

    fn from_toml(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        if node.get().as_str() == Some("") { Some(None) } else { T::from_toml(node, report).map(Some) }
    }

    fn choices() -> Vec<String> {
        T::choices()
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        self.as_ref()?.compare(other.as_ref()?)
    }
}

impl Value for Action {
    const EXPECTED: &'static str = "a name in quotes";

    fn from_text(text: &str) -> Result<Self, String> {
        Self::try_from(text.to_owned())
    }

    fn to_toml(&self) -> Option<toml::Value> {
        Some(self.name().into())
    }
}

/// One of a few names.
macro_rules! choice {
    ($($type:ty),+) => {$(
        impl Value for $type {
            const EXPECTED: &'static str = "a name in quotes";

            fn from_text(text: &str) -> Result<Self, String> {
                Self::from_str(text, true).map_err(|_| format!("{text:?} is none of {}", Self::choices().join(", ")))
            }

            fn to_toml(&self) -> Option<toml::Value> {
                Some(self.to_possible_value()?.get_name().into())
            }

            fn choices() -> Vec<String> {
                let values = Self::value_variants().iter().filter_map(ValueEnum::to_possible_value);
                values.map(|value| value.get_name().to_owned()).collect()
            }
        }
    )+};
}

choice!(UnwindArg, LogFormat, LogLevel, Switch);

#[cfg(test)]
mod tests {
    use super::*;

    /// The text as a file would have it again, or what is wrong.
    fn again<T: Value>(text: &str) -> String {
        T::from_text(text).map_or_else(|message| message, |value| value.to_toml().unwrap().to_string())
    }

    #[test]
    fn values_are_read_and_written() {
        assert_eq!(again::<Duration>("90s"), r#""1m 30s""#);
        assert_eq!(again::<Duration>("15"), r#""15s""#);
        assert_eq!(again::<ByteSize>("1.5MiB"), r#""1536KiB""#);
        assert_eq!(again::<ByteSize>("64 MiB"), r#""64MiB""#);
        assert_eq!(again::<ByteSize>("1000"), r#""1000B""#);
        assert_eq!(again::<ByteSize>("0"), r#""0B""#);
        assert_eq!(again::<Hertz>("19"), "19");
        assert_eq!(again::<f64>("1"), "1.0");
        assert_eq!(again::<f64>("0.5 %"), "0.5");
        assert_eq!(again::<bool>("On"), "true");
        assert_eq!(again::<UnwindArg>("frame-pointers"), r#""frame-pointers""#);
        assert_eq!(Option::<PathBuf>::from_text(""), Ok(None));
    }

    #[test]
    fn what_is_wrong_is_told_with_what_would_be_right() {
        assert_eq!(again::<Hertz>("1000"), "1000 is out of bounds: must be from 1 to 999");
        assert_eq!(again::<Hertz>("-1"), "-1 is out of bounds: must be from 1 to 999");
        assert_eq!(again::<Hertz>("fast"), "\"fast\" is not a whole number");
        assert_eq!(
            again::<ByteSize>("many"),
            "\"many\" is not a size; write 64MiB, 1.5GiB or a number of bytes"
        );
        assert_eq!(again::<ByteSize>("-1"), "\"-1\" is not a size; write 64MiB, 1.5GiB or a number of bytes");
        assert_eq!(again::<bool>("maybe"), "\"maybe\" is neither true nor false");
        assert_eq!(again::<f64>("NaN"), "\"NaN\" is not a number");
        assert_eq!(again::<UnwindArg>("row"), "\"row\" is none of rows, frame-pointers");
        assert_eq!(again::<PathBuf>(""), "is empty: a path is needed");
    }
}
