//! Addresses to listen on, URLs, and headers of requests.

use std::collections::BTreeMap;

use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};

use super::Value;
use super::secret::{MASK, Secret};
use crate::config::document::Node;
use crate::config::problem::{At, Report, Wrong};
use crate::deliver::serve::{BadAddress, ListenAddress};

impl Value for ListenAddress {
    const EXPECTED: &'static str = "an address with a port in quotes, such as \"127.0.0.1:4041\"";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: BadAddress| error.to_string())
    }

    fn to_toml(&self) -> Option<toml::Value> {
        Some(self.to_string().into())
    }
}

impl Value for Url {
    const EXPECTED: &'static str = "a URL in quotes";

    fn from_text(text: &str) -> Result<Self, String> {
        // The text may hold a password: no message shows it.
        let url =
            Self::parse(text).map_err(|error| format!("is not a URL ({error}); write http://HOST:PORT"))?;
        match url.has_host() {
            true => Ok(url),
            false => Err(format!("names no host (its scheme is {:?}); write http://HOST:PORT", url.scheme())),
        }
    }

    fn to_toml(&self) -> Option<toml::Value> {
        let mut shown = self.clone();
        if shown.password().is_some() {
            // Refused only for URLs without a host, which from_text lets by as little.
            shown.set_password(Some(MASK)).ok()?;
        }
        Some(shown.to_string().into())
    }
}

/// Headers of requests. Their values are not shown: they may well be keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers(BTreeMap<String, Secret>);

impl Headers {
    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.reveal()))
    }

    fn checked(headers: BTreeMap<String, Secret>) -> Result<Self, String> {
        for (name, value) in &headers {
            HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("{name:?} is not a header's name"))?;
            HeaderValue::from_str(value.reveal()).map_err(|_| format!("{name}: is not a header's value"))?;
        }
        Ok(Self(headers))
    }
}

impl Value for Headers {
    const EXPECTED: &'static str = "a table of texts, such as { X-Team = \"core\" }";
    const IS_LIST: bool = true;

    fn from_text(text: &str) -> Result<Self, String> {
        BTreeMap::from_text(text).and_then(Self::checked)
    }

    fn to_toml(&self) -> Option<toml::Value> {
        self.0.to_toml()
    }

    fn from_texts(texts: &[String], at: &At, report: &mut Report) -> Option<Self> {
        let headers = BTreeMap::from_texts(texts, at, report)?;
        Self::checked(headers).map_err(|message| report.error(at.clone(), Wrong::Value(message))).ok()
    }

    fn from_toml(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let headers = BTreeMap::from_toml(node, report)?;
        Self::checked(headers).map_err(|message| report.error(node.at(), Wrong::Value(message))).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_needs_a_host_and_hides_its_password() {
        let shown = |text| Url::from_text(text).map(|url| url.to_toml().unwrap().to_string());
        assert_eq!(shown("http://db:4040").unwrap(), r#""http://db:4040/""#);
        assert_eq!(shown("http://me:hunter2@db/p").unwrap(), r#""http://me:****************@db/p""#);
        let errors =
            ["db:4040", "4040", "http://", "http://me:hunter2@:x/"].map(|text| shown(text).unwrap_err());
        expect_test::expect![[r#"
            names no host (its scheme is "db"); write http://HOST:PORT
            is not a URL (relative URL without a base); write http://HOST:PORT
            is not a URL (empty host); write http://HOST:PORT
            is not a URL (empty host); write http://HOST:PORT"#]]
        .assert_eq(&errors.join("\n"));
    }

    #[test]
    fn headers_are_checked_and_hidden() {
        let headers = Headers::from_text("X-Team=core, Authorization=Token hunter2").unwrap();
        assert_eq!(
            headers.iter().collect::<Vec<_>>(),
            [("Authorization", "Token hunter2"), ("X-Team", "core")]
        );
        assert!(!headers.to_toml().unwrap().to_string().contains("hunter2"));
        assert_eq!(Headers::from_text("X Team=core").unwrap_err(), "\"X Team\" is not a header's name");
    }
}
