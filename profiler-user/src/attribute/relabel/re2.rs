//! A pattern in RE2's syntax (Prometheus', Go's) → the same pattern in the syntax of the regex crate.
//!
//! The two read most patterns alike; where they do not, this says it in words that mean the same to the crate:
//!
//! ```text
//!   \d \w \s \b           ASCII there, Unicode here       [0-9] … (?-u:\b)
//!   \< \Q.*\E {a}         literals there                  < \.\* \{a}
//!   [[a&&b--c]            brackets and signs are members  [\[a\&\&b…]
//! ```
//!
//! Left as it is: `\B`, which differs only beside letters that are not ASCII; `a**`, which RE2 refuses; two groups of one
//! name, `\0` and a repetition of `(?i)`, which the crate refuses.

use super::error::PatternFault;

/// Names in `[[:…:]]`.
const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// The pattern in the crate's syntax, not yet anchored.
///
/// # Errors
///
/// If a group or class is not balanced: put into an anchoring group, it would mean something else.
pub(super) fn translate(pattern: &str) -> Result<String, PatternFault> {
    let mut translation = Translation { rest: pattern, output: String::new() };
    let mut open_groups = 0_usize;
    while let Some(next) = translation.next() {
        match next {
            '\\' => translation.escape()?,
            '[' => translation.class()?,
            '{' if !is_repetition(translation.rest) => translation.output.push_str(r"\{"),
            '(' => {
                open_groups += 1;
                translation.output.push('(');
            }
            ')' => {
                open_groups = open_groups.checked_sub(1).ok_or(PatternFault::UnopenedGroup)?;
                translation.output.push(')');
            }
            other => translation.output.push(other),
        }
    }
    Ok(translation.output)
}

/// Whether what follows an opening brace is `3}`, `3,}` or `3,5}`: else the brace is a literal.
fn is_repetition(rest: &str) -> bool {
    let Some((inside, _)) = rest.split_once('}') else { return false };
    let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
    let is_number = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    !least.is_empty() && is_number(least) && is_number(most)
}

struct Translation<'a> {
    rest: &'a str,
    output: String,
}

impl<'a> Translation<'a> {
    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    /// `{…}`, if that follows.
    fn braces(&mut self) -> &'a str {
        let is_open = self.rest.starts_with('{');
        let end = self.rest.find('}').filter(|_| is_open).map_or(0, |last| last + 1);
        let (braces, rest) = self.rest.split_at(end);
        self.rest = rest;
        braces
    }

    /// What follows a backslash outside of a class.
    fn escape(&mut self) -> Result<(), PatternFault> {
        match self.next().ok_or(PatternFault::TrailingBackslash)? {
            'b' => self.output.push_str(r"(?-u:\b)"),
            'Q' => {
                let (quoted, rest) = self.rest.split_once(r"\E").ok_or(PatternFault::UnendedQuote)?;
                self.rest = rest;
                self.output.push_str(&regex::escape(quoted));
            }
            letter if self.set(letter) => {}
            letter => {
                let one = self.escaped(letter);
                self.output.push_str(&one);
            }
        }
        Ok(())
    }

    /// Writes `\d` and the like as a class; false if the letter stands for no such set.
    fn set(&mut self, letter: char) -> bool {
        let class = match letter {
            'd' => "[0-9]",
            'D' => "[^0-9]",
            'w' => "[0-9A-Za-z_]",
            'W' => "[^0-9A-Za-z_]",
            's' => r"[\t\n\f\r ]",
            'S' => r"[^\t\n\f\r ]",
            'p' | 'P' => {
                let name = self.braces();
                self.output.extend(["\\", letter.encode_utf8(&mut [0; 4]), name]);
                return true;
            }
            _ => return false,
        };
        self.output.push_str(class);
        true
    }

    /// An escape that stands for one character, as the crate reads it. (The two digits of `\x61` follow by themselves.)
    fn escaped(&mut self, letter: char) -> String {
        match letter {
            '<' | '>' => letter.to_string(),
            'x' => format!(r"\x{}", self.braces()),
            other => format!(r"\{other}"),
        }
    }

    /// What follows `[`, up to its `]`. Members are escaped one by one: the crate knows nested classes and
    /// operators (`&&`, `--`, `~~`) that RE2 does not.
    fn class(&mut self) -> Result<(), PatternFault> {
        self.output.push('[');
        if let Some(rest) = self.rest.strip_prefix('^') {
            self.rest = rest;
            self.output.push('^');
        }
        let mut is_first = true;
        while is_first || !self.rest.starts_with(']') {
            is_first = false;
            self.member()?;
        }
        self.rest = &self.rest[1..];
        self.output.push(']');
        Ok(())
    }

    /// A set, a character or a range of them.
    fn member(&mut self) -> Result<(), PatternFault> {
        if let Some(rest) = self.rest.strip_prefix("[:")
            && let Some((name, rest)) = rest.split_once(":]")
        {
            if !POSIX_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
                return Err(PatternFault::UnknownClass);
            }
            self.rest = rest;
            self.output.extend(["[:", name, ":]"]);
            return Ok(());
        }
        if let Some(rest) = self.rest.strip_prefix('\\')
            && let Some(letter) = rest.chars().next()
        {
            let before = std::mem::replace(&mut self.rest, &rest[letter.len_utf8()..]);
            if self.set(letter) {
                return Ok(());
            }
            self.rest = before;
        }
        let first = self.member_character()?;
        self.output.push_str(&first);
        if let Some(rest) = self.rest.strip_prefix('-')
            && !rest.starts_with(']')
        {
            self.rest = rest;
            let last = self.member_character()?;
            self.output.extend(["-", &last]);
        }
        Ok(())
    }

    /// One character of a class, escaped.
    fn member_character(&mut self) -> Result<String, PatternFault> {
        match self.next().ok_or(PatternFault::UnclosedClass)? {
            '\\' => {
                let letter = self.next().ok_or(PatternFault::TrailingBackslash)?;
                Ok(self.escaped(letter))
            }
            plain => Ok(regex::escape(plain.encode_utf8(&mut [0; 4]))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, expected: &str) {
        assert_eq!(translate(pattern).as_deref(), Ok(expected), "{pattern}");
        assert!(regex::Regex::new(expected).is_ok(), "{expected}");
    }

    #[test]
    fn what_both_read_alike_stays() {
        for pattern in [
            "(.*)",
            "f(.*);(.*)r",
            "^metrics$",
            r"(.+?)(\:\x3a|a{2,3})?",
            "(?P<name>a)|(?i:b)",
            "x{2}y{3,}",
            "",
            r"\pL\p{Greek}\PN\x{1F600}",
            "[a-z_][^0-9]",
            r"a}b",
            "[[:alpha:]x[:^digit:]]",
        ] {
            check(pattern, pattern);
        }
    }

    #[test]
    fn sets_and_boundaries_are_ascii() {
        check(r"\d+\W", "[0-9]+[^0-9A-Za-z_]");
        check(r"[\w-]\s", r"[[0-9A-Za-z_]\-][\t\n\f\r ]");
        check(r"\bx\\b", r"(?-u:\b)x\\b");
    }

    #[test]
    fn literals_stay_literal() {
        check(r"\<none\>", "<none>");
        check(r"\Qa.b\Ec.", r"a\.bc.");
        check("{a}x{,3}y{1,b}z{", r"\{a}x\{,3}y\{1,b}z\{");
        check("[[a&&b~~c]", r"[\[a\&\&b\~\~c]");
        check("[]a][^]]", r"[\]a][^\]]");
        check("[+--][a-][--a]", r"[\+-\-][a\-][\--a]");
        check("[é-ü]", "[é-ü]");
    }

    #[test]
    fn what_would_escape_its_group_is_refused() {
        let check = |pattern: &str, fault| assert_eq!(translate(pattern), Err(fault), "{pattern}");
        check("a)|(?:b", PatternFault::UnopenedGroup);
        check("[a", PatternFault::UnclosedClass);
        check("[]", PatternFault::UnclosedClass);
        check("[a-", PatternFault::UnclosedClass);
        check("[[:letters:]]", PatternFault::UnknownClass);
        check(r"\Qa", PatternFault::UnendedQuote);
        check("a\\", PatternFault::TrailingBackslash);
        check("[\\", PatternFault::TrailingBackslash);
    }
}
