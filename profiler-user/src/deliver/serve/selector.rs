//! What a request asks for (`service_name=shop`, `pid=12`, `{pod=~"web-.*"}`) → which processes those are.
//!
//! Matchers mean what Prometheus' mean: a label that is not there has the value "", and a regular expression has to
//! fit the whole value. `pid` is a label too, though no series has it. Does not know HTTP: `pull.rs` reads requests.

use std::fmt;

use percent_encoding::percent_decode_str;
use regex::{Regex, RegexBuilder};

use super::matcher_text;
use crate::attribute::labels::Labels;

/// The name under which the process id is matched.
pub const PID: &str = "pid";

/// A compiled regular expression takes at most this much: one request must not fill the memory.
const REGEX_BYTES_MAX: usize = 1 << 20;
/// So many conditions at most: more is no question that a person or a collector asks.
const MATCHERS_MAX: usize = 32;

/// Which processes are meant: those that all conditions fit. Without any condition, all.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    matchers: Vec<Matcher>,
}

/// One condition on one label.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    test: Test,
}

/// How a value is compared.
#[derive(Clone, Debug)]
pub enum Test {
    /// `=`
    Equal(String),
    /// `!=`
    NotEqual(String),
    /// `=~`, anchored at both ends.
    Fits(Regex),
    /// `!~`, anchored at both ends.
    FitsNot(Regex),
}

/// What is wrong with a selector.
#[derive(Debug, thiserror::Error)]
pub enum SelectorError {
    /// A part of a path that is no `name=value`.
    #[error("{part:?} is no name=value")]
    NoEquals {
        /// As it stands in the path.
        part: String,
    },
    /// Percent encoding of bytes that are no UTF-8.
    #[error("{part:?} is not UTF-8 once it is decoded")]
    NotUtf8 {
        /// As it stands in the path.
        part: String,
    },
    /// No label can have this name.
    #[error("{name:?} is no name of a label: letters, digits, _ and . only, and no digit first")]
    Name {
        /// The name.
        name: String,
    },
    /// `pid` is compared with what is no process id.
    #[error("pid={value:?}: not a process id")]
    Pid {
        /// The value.
        value: String,
    },
    /// One label with two values: nothing could match both.
    #[error("{name} is given twice; one of several is match={{{name}=~\"a|b\"}}")]
    Twice {
        /// The label.
        name: String,
    },
    /// Too many conditions.
    #[error("more than {MATCHERS_MAX} conditions")]
    TooMany,
    /// Matchers that cannot be read.
    #[error("match: {expected} expected at character {at}")]
    Syntax {
        /// What should have stood there.
        expected: &'static str,
        /// Counted from 1.
        at: usize,
    },
    /// A regular expression that cannot be read or is too large.
    #[error("match: {expression:?} is no regular expression that can be used")]
    Expression {
        /// As it was given.
        expression: String,
        /// Why.
        source: Box<regex::Error>,
    },
}

impl Selector {
    /// Adds `name=value`, the form of query parameters.
    pub fn add_equal(&mut self, name: &str, value: &str) -> Result<(), SelectorError> {
        if name == PID && value.parse::<u32>().is_err() {
            return Err(SelectorError::Pid { value: value.to_owned() });
        }
        let is_equal = |other: &Matcher| other.name == name && matches!(other.test, Test::Equal(_));
        if self.matchers.iter().any(is_equal) {
            return Err(SelectorError::Twice { name: name.to_owned() });
        }
        self.add(Matcher::new(name, Test::Equal(value.to_owned()))?)
    }

    /// Adds Prometheus' matchers, `{a="b",c=~"d"}`, with or without the braces.
    pub fn add_matchers(&mut self, text: &str) -> Result<(), SelectorError> {
        matcher_text::parse(text)?.into_iter().try_for_each(|matcher| self.add(matcher))
    }

    /// Adds the form of paths: `name=value[,name=value]`, names and values percent-encoded. Some clients encode the
    /// whole part of a path, `=` and `,` with it: that is understood too.
    pub fn add_path(&mut self, path: &str) -> Result<(), SelectorError> {
        if path.contains('=') {
            return path.split(',').try_for_each(|part| self.add_pair(part, decoded));
        }
        decoded(path)?.split(',').try_for_each(|part| self.add_pair(part, |text| Ok(text.to_owned())))
    }

    fn add_pair(
        &mut self,
        part: &str,
        decode: impl Fn(&str) -> Result<String, SelectorError>,
    ) -> Result<(), SelectorError> {
        let no_equals = || SelectorError::NoEquals { part: part.to_owned() };
        let (name, value) = part.split_once('=').ok_or_else(no_equals)?;
        self.add_equal(&decode(name)?, &decode(value)?)
    }

    fn add(&mut self, matcher: Matcher) -> Result<(), SelectorError> {
        if self.matchers.len() >= MATCHERS_MAX {
            return Err(SelectorError::TooMany);
        }
        self.matchers.push(matcher);
        Ok(())
    }

    /// Whether a process with these labels is meant.
    pub fn matches(&self, labels: &Labels, pid: u32) -> bool {
        self.matchers.iter().all(|matcher| {
            if matcher.name == PID {
                matcher.test.is_passed_by(&pid.to_string())
            } else {
                matcher.test.is_passed_by(labels.get(&matcher.name))
            }
        })
    }

    /// Whether there is no condition: the whole host.
    pub fn is_everything(&self) -> bool {
        self.matchers.is_empty()
    }

    /// The labels that conditions are on.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.matchers.iter().map(|matcher| &*matcher.name)
    }
}

/// As Prometheus writes it.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (position, Matcher { name, test }) in self.matchers.iter().enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            let (sign, value) = match test {
                Test::Equal(value) => ("=", &**value),
                Test::NotEqual(value) => ("!=", &**value),
                Test::Fits(regex) => ("=~", unanchored(regex)),
                Test::FitsNot(regex) => ("!~", unanchored(regex)),
            };
            write!(f, "{comma}{name}{sign}{value:?}")?;
        }
        f.write_str("}")
    }
}

const ANCHORS: (&str, &str) = ("^(?s:", ")$");

fn unanchored(regex: &Regex) -> &str {
    let inner = regex.as_str().strip_prefix(ANCHORS.0).and_then(|rest| rest.strip_suffix(ANCHORS.1));
    inner.unwrap_or(regex.as_str())
}

impl Matcher {
    /// Checks the name.
    pub(super) fn new(name: &str, test: Test) -> Result<Self, SelectorError> {
        let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        let is_name = name.chars().all(is_letter) && name.starts_with(|c: char| !c.is_ascii_digit());
        match is_name {
            true => Ok(Self { name: name.to_owned(), test }),
            false => Err(SelectorError::Name { name: name.to_owned() }),
        }
    }
}

impl Test {
    fn is_passed_by(&self, value: &str) -> bool {
        match self {
            Self::Equal(wanted) => value == wanted,
            Self::NotEqual(unwanted) => value != unwanted,
            Self::Fits(regex) => regex.is_match(value),
            Self::FitsNot(regex) => !regex.is_match(value),
        }
    }
}

/// A regular expression that has to fit a whole value, `.` line ends too: as Prometheus has it.
pub(super) fn anchored(expression: &str) -> Result<Regex, SelectorError> {
    let failed =
        |source| SelectorError::Expression { expression: expression.to_owned(), source: Box::new(source) };
    // By itself first: `a)(b` is an expression only between our parentheses.
    RegexBuilder::new(expression).size_limit(REGEX_BYTES_MAX).build().map_err(failed)?;
    let whole = format!("{}{expression}{}", ANCHORS.0, ANCHORS.1);
    RegexBuilder::new(&whole).size_limit(REGEX_BYTES_MAX).build().map_err(failed)
}

fn decoded(part: &str) -> Result<String, SelectorError> {
    let decoded = percent_decode_str(part).decode_utf8();
    decoded.map(Into::into).map_err(|_| SelectorError::NotUtf8 { part: part.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        [("service_name", "shop/web"), ("pod", "web-1"), ("language", "go")].into_iter().collect()
    }

    fn of(text: &str) -> Result<Selector, String> {
        let mut selector = Selector::default();
        selector.add_matchers(text).map_err(|error| error.to_string())?;
        Ok(selector)
    }

    fn of_path(text: &str) -> Result<Selector, String> {
        let mut selector = Selector::default();
        selector.add_path(text).map_err(|error| error.to_string())?;
        Ok(selector)
    }

    fn fits(text: &str) -> bool {
        of(text).unwrap().matches(&labels(), 42)
    }

    #[test]
    fn matchers_mean_what_prometheus_means() {
        assert!(fits("{}"));
        assert!(fits(r#"{service_name="shop/web", pod=~"web-.*"}"#));
        assert!(!fits(r#"{service_name="shop/web", pod=~"eb-"}"#), "anchored");
        assert!(!fits(r#"{pod=~"web-"}"#), "anchored at the end");
        assert!(!fits(r#"{pod=~"x|web"}"#), "anchored around the whole alternative");
        assert!(fits(r#"{pod!~"db-.*", language!="rust"}"#));
        assert!(!fits(r#"{pod!~"web-.*"}"#));
        assert!(fits(r#"{namespace=""}"#), "a label that is not there is empty");
        assert!(fits(r#"{namespace!="prod"}"#));
        assert!(fits(r#"{pid="42"}"#) && fits(r#"{pid=~"4.", pid!="43"}"#) && !fits(r#"{pid="4"}"#));
    }

    #[test]
    fn a_path_is_decoded_after_it_was_divided() {
        let selector = of_path("service_name=shop%2Fweb,pod=web-1").unwrap();
        assert!(selector.matches(&labels(), 1) && !selector.matches(&Labels::default(), 1));
        assert_eq!(selector.to_string(), r#"{service_name="shop/web", pod="web-1"}"#);
        assert_eq!(of_path("a=b%2Cc,d=e%3Df%25").unwrap().to_string(), r#"{a="b,c", d="e=f%"}"#);
        assert_eq!(of_path("service_name%3Dshop%2Fweb%2Cpod%3Dp").unwrap().names().count(), 2);
        assert_eq!(of_path("a=b+c").unwrap().to_string(), r#"{a="b+c"}"#);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let wrong = |text: &str| of_path(text).unwrap_err();
        assert_eq!(wrong("nginx"), r#""nginx" is no name=value"#);
        assert_eq!(wrong("a=b,"), r#""" is no name=value"#);
        assert_eq!(wrong("a=%ff"), r#""%ff" is not UTF-8 once it is decoded"#);
        assert!(wrong("=x").starts_with(r#""" is no name of a label"#));
        assert!(wrong("1a=x").starts_with(r#""1a" is no name of a label"#));
        assert_eq!(wrong("pid=-1"), r#"pid="-1": not a process id"#);
        assert_eq!(wrong("a=b,a=c"), r#"a is given twice; one of several is match={a=~"a|b"}"#);
        let many: Vec<_> = (0..33).map(|n| format!("a{n}=x")).collect();
        assert_eq!(wrong(&many.join(",")), "more than 32 conditions");
        let expression = of(r#"{a=~"("}"#).unwrap_err();
        assert_eq!(expression, r#"match: "(" is no regular expression that can be used"#);
        assert!(of(r#"{a=~"b)(c"}"#).is_err(), "no way out of the anchors");
        assert!(of(r#"{a=~"(x{1000}){1000}"}"#).is_err(), "bounded");
    }
}
