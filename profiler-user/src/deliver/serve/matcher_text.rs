//! `{a="b", c=~'d'}` → matchers, as Prometheus writes them. Any text gives matchers or the place of the mistake.

use super::selector::{Matcher, SelectorError, Test, anchored};

/// Reads matchers, with or without braces; a comma may follow the last.
pub(super) fn parse(text: &str) -> Result<Vec<Matcher>, SelectorError> {
    let mut cursor = Cursor { chars: text.chars().collect(), at: 0 };
    cursor.skip_blanks();
    let closes = cursor.takes("{");
    let mut matchers = Vec::new();
    loop {
        cursor.skip_blanks();
        if cursor.ends(closes)? {
            return Ok(matchers);
        }
        matchers.push(cursor.matcher()?);
        cursor.skip_blanks();
        if !cursor.takes(",") && !cursor.ends(closes)? {
            return Err(cursor.wants(if closes { "a comma or }" } else { "a comma" }));
        }
    }
}

struct Cursor {
    chars: Vec<char>,
    at: usize,
}

impl Cursor {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn takes(&mut self, word: &str) -> bool {
        let fits = word.chars().enumerate().all(|(i, c)| self.chars.get(self.at + i) == Some(&c));
        if fits {
            self.at += word.chars().count();
        }
        fits
    }

    fn wants(&self, expected: &'static str) -> SelectorError {
        SelectorError::Syntax { expected, at: self.at + 1 }
    }

    /// Whether everything was read. Looks at the closing brace without taking it, so it may be asked twice.
    fn ends(&self, closes: bool) -> Result<bool, SelectorError> {
        if !closes {
            return Ok(self.at >= self.chars.len());
        }
        if self.peek() != Some('}') {
            return Ok(false);
        }
        let rest = self.chars.get(self.at + 1..).unwrap_or_default();
        match rest.iter().position(|c| !c.is_whitespace()) {
            None => Ok(true),
            Some(more) => Err(SelectorError::Syntax { expected: "the end", at: self.at + more + 2 }),
        }
    }

    fn matcher(&mut self) -> Result<Matcher, SelectorError> {
        let name = self.name()?;
        self.skip_blanks();
        // The longer signs first: `=` begins `=~`.
        let signs = ["=~", "!~", "!=", "="];
        let Some(sign) = signs.into_iter().find(|sign| self.takes(sign)) else {
            return Err(self.wants("=, !=, =~ or !~"));
        };
        self.skip_blanks();
        let value = self.quoted()?;
        let test = match sign {
            "=~" => Test::Fits(anchored(&value)?),
            "!~" => Test::FitsNot(anchored(&value)?),
            "!=" => Test::NotEqual(value),
            _ => Test::Equal(value),
        };
        Matcher::new(&name, test)
    }

    fn name(&mut self) -> Result<String, SelectorError> {
        if matches!(self.peek(), Some('"' | '\'' | '`')) {
            return self.quoted();
        }
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.')) {
            name.push(c);
            self.at += 1;
        }
        if name.is_empty() { Err(self.wants("the name of a label")) } else { Ok(name) }
    }

    /// `"…"` and `'…'` with escapes, `` `…` `` without.
    fn quoted(&mut self) -> Result<String, SelectorError> {
        let Some(quote @ ('"' | '\'' | '`')) = self.peek() else { return Err(self.wants("a quoted value")) };
        self.at += 1;
        let mut value = String::new();
        loop {
            let Some(c) = self.peek() else { return Err(self.wants("a closing quote")) };
            self.at += 1;
            match c {
                _ if c == quote => return Ok(value),
                '\\' if quote != '`' => value.push(self.escaped()?),
                _ => value.push(c),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, SelectorError> {
        let c = match self.peek() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some(c @ ('\\' | '"' | '\'')) => c,
            _ => return Err(self.wants(r#"one of \\ \" \' \n \t \r"#)),
        };
        self.at += 1;
        Ok(c)
    }
}

#[cfg(test)]
mod tests {
    use crate::deliver::serve::selector::Selector;

    fn read(text: &str) -> String {
        let mut selector = Selector::default();
        match selector.add_matchers(text) {
            Ok(()) => selector.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_way_to_write_it() {
        assert_eq!(read(""), "{}");
        assert_eq!(read(" { } "), "{}");
        assert_eq!(read(r#"{a="b",c=~"d.*",e!="f",g!~"h|i",}"#), r#"{a="b", c=~"d.*", e!="f", g!~"h|i"}"#);
        assert_eq!(read(r#" a = 'b' , c = `d\n` "#), r#"{a="b", c="d\\n"}"#);
        assert_eq!(read(r#"{a="\"\\\n"}"#), r#"{a="\"\\\n"}"#);
        assert_eq!(read(r#"{"k8s.pod"="ü}"}"#), r#"{k8s.pod="ü}"}"#);
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        assert_eq!(read("{a}"), "match: =, !=, =~ or !~ expected at character 3");
        assert_eq!(read("{a=b}"), "match: a quoted value expected at character 4");
        assert_eq!(read(r#"{a="b"#), "match: a closing quote expected at character 6");
        assert_eq!(read(r#"{a="b" c="d"}"#), "match: a comma or } expected at character 8");
        assert_eq!(read(r#"{a="b"} x"#), "match: the end expected at character 9");
        assert_eq!(read(r#"{a="b""#), "match: a comma or } expected at character 7");
        assert_eq!(read(r#"a="b"}"#), "match: a comma expected at character 6");
        assert_eq!(read(r#"{,}"#), "match: the name of a label expected at character 2");
        assert_eq!(read(r#"{a="\x"}"#), r#"match: one of \\ \" \' \n \t \r expected at character 6"#);
    }

    #[test]
    fn any_text_gives_an_answer() {
        let pieces = ["{", "}", "a", "=", "=~", "!", "\"", "'", "`", "\\", ",", " ", "ü", "(", "\u{0}"];
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let text: String =
                (0..random.usize(..12)).map(|_| pieces[random.usize(..pieces.len())]).collect();
            assert!(!read(&text).is_empty());
        }
    }
}
