//! `ch${1}-$name` → text and groups, and with a match's groups → text. The rules are those of Go's `Regexp.Expand`.
//!
//! ```text
//!   $1 ${1} $name ${name}   the group; nothing if it is not there or took no part
//!   $1x                     the group called `1x`: a name is as long as it can be
//!   $$                      a dollar
//!   $- ${ ${a-b}            as they stand
//! ```

use regex::{Captures, Regex};

/// What `replacement` or `target_label` makes of a match.
#[derive(Debug)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

impl Template {
    /// Takes the text apart; groups are those of this pattern.
    pub(super) fn parse(text: &str, pattern: &Regex) -> Self {
        let mut template = Self(Vec::new());
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('$') {
            template.push_text(before);
            rest = match reference(behind) {
                Some((name, rest)) => {
                    template.0.extend(group(name, pattern).map(Part::Group));
                    rest
                }
                None => {
                    template.push_text("$");
                    behind.strip_prefix('$').unwrap_or(behind)
                }
            };
        }
        template.push_text(rest);
        template
    }

    fn push_text(&mut self, text: &str) {
        match self.0.last_mut() {
            Some(Part::Text(before)) => before.push_str(text),
            _ if text.is_empty() => {}
            _ => self.0.push(Part::Text(text.to_owned())),
        }
    }

    /// The text for a match. Not much longer than `max_bytes`: what follows then is left out.
    pub(super) fn expand(&self, found: &Captures<'_>, max_bytes: usize) -> String {
        let mut output = String::new();
        for part in &self.0 {
            if output.len() > max_bytes {
                break;
            }
            output.push_str(match part {
                Part::Text(text) => text,
                Part::Group(group) => found.get(*group).map_or("", |group| group.as_str()),
            });
        }
        output
    }
}

/// The name behind a dollar and what follows it; `None` if there is no name.
fn reference(behind: &str) -> Option<(&str, &str)> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let in_braces = behind.strip_prefix('{');
    let start = in_braces.unwrap_or(behind);
    let (name, rest) = start.split_at(start.find(|c| !is_name(c)).unwrap_or(start.len()));
    let rest = if in_braces.is_some() { rest.strip_prefix('}')? } else { rest };
    (!name.is_empty()).then_some((name, rest))
}

/// The group of a number or name. A number has no zero in front; with one it is a name, which no group has.
fn group(name: &str, pattern: &Regex) -> Option<usize> {
    let is_number = name.bytes().all(|digit| digit.is_ascii_digit());
    if is_number && (name == "0" || !name.starts_with('0')) {
        return name.parse().ok().filter(|&number| number < pattern.captures_len());
    }
    pattern.capture_names().position(|group| group == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expands a text with the groups of `(line)(?<second>[0-9])(x)?` in `line2`.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let pattern = Regex::new("(line)(?<second>[0-9])(x)?").unwrap();
        let found = pattern.captures("line2").unwrap();
        assert_eq!(Template::parse(text, &pattern).expand(&found, 1024), expected, "{text}");
    }

    #[test]
    fn groups_by_number_and_name() {
        check("$1-${2}_$0", "line-2_line2");
        check("$second${second}", "22");
        check("<$3><$4><${none}><$01>", "<><><><>");
        check("$1x|${1}x|$1_", "|linex|");
    }

    #[test]
    fn what_is_no_reference_stays() {
        check("a$$1 $$$1", "a$1 $line");
        check("$ $- ${ ${} ${a-b} ${1", "$ $- ${ ${} ${a-b} ${1");
        check("100$", "100$");
        check("é$é", "é");
    }

    #[test]
    fn a_long_answer_ends() {
        let pattern = Regex::new("(.*)").unwrap();
        let found = pattern.captures("0123456789").unwrap();
        assert_eq!(Template::parse("$1$1$1$1", &pattern).expand(&found, 15), "01234567890123456789");
    }
}
