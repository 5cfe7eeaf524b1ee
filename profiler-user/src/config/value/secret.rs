//! A text that nobody else is to read: shown nowhere, neither in a message nor in a debug print.

use std::fmt;

use super::Value;

/// What stands in a secret's place: long enough to pass where a secret has to be long.
pub(super) const MASK: &str = "****************";

/// A password or a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text, for whoever sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Value for Secret {
    const EXPECTED: &'static str = "a text in quotes";

    fn from_text(text: &str) -> Result<Self, String> {
        match text.chars().any(char::is_control) {
            _ if text.is_empty() => Err("is empty".to_owned()),
            true => Err("has a line end or another control character in it".to_owned()),
            false => Ok(Self(text.to_owned())),
        }
    }

    fn to_toml(&self) -> Option<toml::Value> {
        Some(MASK.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_nowhere() {
        let secret = Secret::from_text("hunter2").unwrap();
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), format!("{MASK} Some({MASK})"));
        assert_eq!(secret.to_toml().unwrap().as_str(), Some(MASK));
        assert_eq!(secret.reveal(), "hunter2");
        assert!(!Secret::from_text("hun\nter2").unwrap_err().contains("ter2"));
    }
}
