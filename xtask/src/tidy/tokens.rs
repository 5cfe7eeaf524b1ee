//! Rust text → tokens with line numbers. Comments are dropped, and so is everything under `#[cfg(test)]`.
//!
//! Knows just enough of the language for rules about paths, calls and string literals: comments nest, strings may
//! be raw, `'` may begin a character or a lifetime. Numbers come out as words.

/// One token and the line that it begins on, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Identifier, keyword or number.
    Word(String),
    /// Contents of a string literal, escapes as written.
    Text(String),
    /// Any other character.
    Sign(char),
}

impl Token {
    /// Whether it is this word.
    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(&self.kind, Kind::Word(own) if own == word)
    }

    /// Whether it is this sign.
    pub(super) fn is_sign(&self, sign: char) -> bool {
        self.kind == Kind::Sign(sign)
    }

    /// The word, if it is one.
    pub(super) fn word(&self) -> Option<&str> {
        if let Kind::Word(word) = &self.kind { Some(word) } else { None }
    }
}

/// The tokens of a file that end up in the product.
pub(super) fn of_product(path: &str, text: &str) -> Vec<Token> {
    let ends_as_tests = path.ends_with("/tests.rs") || path.ends_with("_tests.rs");
    let is_test_file = ends_as_tests || path.contains("/tests/") || path.starts_with("tests/");
    if is_test_file { Vec::new() } else { without_tests(all(text)) }
}

/// Whether the tokens from here on are exactly these words and signs, such as `Instant :: now`.
pub(super) fn starts_with(tokens: &[Token], pattern: &[&str]) -> bool {
    tokens.len() >= pattern.len()
        && tokens.iter().zip(pattern).all(|(token, wanted)| match &token.kind {
            Kind::Word(word) => word == wanted,
            Kind::Sign(sign) => wanted.chars().eq([*sign]),
            Kind::Text(_) => false,
        })
}

/// Every token of a text.
pub(super) fn all(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: text, line: 1, tokens: Vec::new() };
    while lexer.step() {}
    lexer.tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    /// Takes one token, comment or blank; false at the end.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        if self.rest.starts_with("//") {
            self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.skip(block_comment_len(self.rest));
        } else if let Some(hashes) = raw_string_hashes(self.rest) {
            self.raw_string(hashes);
        } else if first == '"' {
            self.string();
        } else if first == '\'' {
            self.skip(character_len(self.rest));
        } else if is_word_character(first) {
            let len = self.rest.find(|c| !is_word_character(c)).unwrap_or(self.rest.len());
            let (word, _) = self.rest.split_at(len);
            // The prefix of a string or character literal is no word of its own.
            let is_prefix = matches!(word, "b" | "c") && self.rest[len..].starts_with(['"', '\'']);
            if !is_prefix {
                self.push(Kind::Word(word.to_owned()));
            }
            self.skip(len);
        } else {
            if !first.is_whitespace() {
                self.push(Kind::Sign(first));
            }
            self.skip(first.len_utf8());
        }
        true
    }

    fn push(&mut self, kind: Kind) {
        self.tokens.push(Token { line: self.line, kind });
    }

    fn skip(&mut self, len: usize) {
        let (skipped, rest) = self.rest.split_at(len);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }

    fn string(&mut self) {
        let body = &self.rest[1..];
        let mut escaped = false;
        let end = body.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let len = end.unwrap_or(body.len());
        let text = body[..len].to_owned();
        self.push(Kind::Text(text));
        self.skip((len + 2).min(self.rest.len()));
    }

    fn raw_string(&mut self, hashes: usize) {
        let start = self.rest.find('"').map_or(self.rest.len(), |quote| quote + 1);
        let close = format!("\"{}", "#".repeat(hashes));
        let len = self.rest[start..].find(&close).unwrap_or(self.rest.len() - start);
        let text = self.rest[start..start + len].to_owned();
        self.push(Kind::Text(text));
        self.skip((start + len + close.len()).min(self.rest.len()));
    }
}

fn is_word_character(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// How many `#` the raw string here has, if there is one: `r"`, `br#"`, `cr##"`.
fn raw_string_hashes(text: &str) -> Option<usize> {
    let after = ["r", "br", "cr"].iter().find_map(|prefix| text.strip_prefix(prefix))?;
    let quote = after.trim_start_matches('#');
    quote.starts_with('"').then_some(after.len() - quote.len())
}

fn block_comment_len(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of the character literal here, or 1 for the quote of a lifetime.
fn character_len(text: &str) -> usize {
    let body = &text[1..];
    if let Some(escape) = body.strip_prefix('\\') {
        // `'\''` and `'\\'`: the character after the backslash never ends the literal.
        let escaped = 1 + escape.chars().next().map_or(0, char::len_utf8);
        return body[escaped..].find('\'').map_or(text.len(), |end| 1 + escaped + end + 1);
    }
    let first = body.chars().next().map_or(0, char::len_utf8);
    if body[first..].starts_with('\'') { 1 + first + 1 } else { 1 }
}

/// Leaves out each item that has `#[cfg(test)]`: to its closing brace, or to its semicolon.
fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut rest = tokens.as_slice();
    while let Some((first, after)) = rest.split_first() {
        if starts_with(rest, &TEST) {
            rest = &rest[item_len(rest)..];
        } else {
            kept.push(first.clone());
            rest = after;
        }
    }
    kept
}

/// Tokens up to the end of the first item.
fn item_len(tokens: &[Token]) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Sign('{' | '(' | '[') => depth += 1,
            Kind::Sign('}' | ')' | ']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && token.is_sign(';') {
            return index + 1;
        }
        if depth == 0 && token.is_sign('}') {
            // A braced import ends one token later.
            let semicolon = tokens.get(index + 1).is_some_and(|next| next.is_sign(';'));
            return index + 1 + usize::from(semicolon);
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words as they are, signs as they are, strings in quotes.
    fn check(text: &str, expected: &[&str]) {
        let spell = |token: Token| match token.kind {
            Kind::Word(word) => word,
            Kind::Text(text) => format!("\"{text}\""),
            Kind::Sign(sign) => sign.to_string(),
        };
        let found: Vec<String> = of_product("src/a.rs", text).into_iter().map(spell).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn comments_are_dropped_and_nest() {
        check("a // b\nc", &["a", "c"]);
        check("a /* b /* c */ d */ e", &["a", "e"]);
        check("//! \"/proc\"", &[]);
        check("a /* never closed", &["a"]);
    }

    #[test]
    fn strings_keep_quotes_escapes_and_slashes_inside() {
        check(r#"f("a \" // b", 1)"#, &["f", "(", r#""a \" // b""#, ",", "1", ")"]);
        check(r####"r#"a " b"# r"c" br##"d"# e"##"####, &[r#""a " b""#, "\"c\"", "\"d\"# e\""]);
        check("b\"x\" c\"y\"", &["\"x\"", "\"y\""]);
        check("\"never closed", &["\"never closed\""]);
    }

    #[test]
    fn a_quote_may_begin_a_character_or_a_lifetime() {
        check(
            r"fn f<'a>(c: char) { c == '\'' || c == '\\' || c == '{' }",
            &[
                "fn", "f", "<", "a", ">", "(", "c", ":", "char", ")", "{", "c", "=", "=", "|", "|", "c", "=",
                "=", "|", "|", "c", "=", "=", "}",
            ],
        );
        check("b'\"' é 'é' x", &["é", "x"]);
    }

    #[test]
    fn raw_identifiers_are_no_strings() {
        check("r#type r", &["r", "#", "type", "r"]);
    }

    #[test]
    fn items_for_tests_are_left_out() {
        check("a; #[cfg(test)] mod tests { fn f() { g(); } } b;", &["a", ";", "b", ";"]);
        check("#[cfg(test)]\nmod tests; a", &["a"]);
        check("#[cfg(test)] use x::{y, z}; a", &["a"]);
        check("#[cfg(test)] #[expect(lint)] fn f(x: [u8; 2]) {} a", &["a"]);
        check("#[cfg(not(test))] a", &["#", "[", "cfg", "(", "not", "(", "test", ")", ")", "]", "a"]);
        assert_eq!(of_product("crate/src/stage/tests.rs", "a"), []);
        assert_eq!(of_product("crate/src/stage/plan_tests.rs", "a"), []);
        assert_eq!(of_product("crate/src/stage/contests.rs", "a").len(), 1);
    }

    #[test]
    fn lines_count_through_comments_and_strings() {
        let tokens = all("a\n/* \n */ \"\n\" b");
        assert_eq!(tokens.iter().map(|token| token.line).collect::<Vec<_>>(), [1, 3, 4]);
    }
}
