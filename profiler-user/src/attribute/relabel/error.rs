//! Why a list of rules is refused: Prometheus' own reasons, and our bounds.

use thiserror::Error;

use super::config::Action;

/// Why a list of rules is refused.
#[derive(Debug, Error)]
pub enum RelabelError {
    /// Every process passes all of them, so there is an end.
    #[error("{rules} relabel rules are more than the {max} that are taken")]
    TooManyRules {
        /// How many there are.
        rules: usize,
        /// How many may be.
        max: usize,
    },
    /// One of them makes no sense.
    #[error("relabel rule {position}: {fault}")]
    Rule {
        /// Its place in the list; the first is 1.
        position: usize,
        /// What is wrong with it.
        #[source]
        fault: RuleFault,
    },
}

/// What is wrong with one rule.
#[derive(Debug, Error)]
pub enum RuleFault {
    /// `hashmod` divides by it.
    #[error("hashmod needs a modulus, and not 0")]
    NoModulus,
    /// The action writes to it or compares with it.
    #[error("{action} needs a target_label")]
    NoTarget {
        /// The rule's action.
        action: Action,
    },
    /// The action has no use for it.
    #[error("{action} takes no replacement")]
    ReplacementNotTaken {
        /// The rule's action.
        action: Action,
    },
    /// The new names would be empty.
    #[error("labelmap needs a replacement that is not empty")]
    EmptyReplacement,
    /// The action compares two values and nothing else.
    #[error("{action} takes source_labels and target_label, nothing else")]
    OnlyLabelsTaken {
        /// The rule's action.
        action: Action,
    },
    /// The action looks at names of labels and nothing else.
    #[error("{action} takes a regex, nothing else")]
    OnlyRegexTaken {
        /// The rule's action.
        action: Action,
    },
    /// No label has this name.
    #[error("an empty name in source_labels")]
    EmptySourceLabel,
    /// A list or text beyond our bounds.
    #[error("{key} is {size} long, at most {max} is taken")]
    TooLong {
        /// The key in the configuration.
        key: &'static str,
        /// Its length: bytes of a text, entries of a list.
        size: usize,
        /// How much may be.
        max: usize,
    },
    /// The pattern is not RE2's syntax.
    #[error("regex {pattern:?}: {fault}")]
    Pattern {
        /// As configured.
        pattern: String,
        /// What is wrong with it.
        fault: PatternFault,
    },
    /// The pattern does not compile, or takes too much memory.
    #[error("regex {pattern:?}: {source}")]
    Regex {
        /// As configured.
        pattern: String,
        /// The compiler's answer; it shows the pattern as we translated it.
        source: Box<regex::Error>,
    },
}

/// What our translation of a pattern found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PatternFault {
    /// `a)` would end the group that anchors the pattern.
    #[error("a `)` without its `(`")]
    UnopenedGroup,
    /// `[a`
    #[error("a `[` without its `]`")]
    UnclosedClass,
    /// `[[:letters:]]`
    #[error("an unknown class in `[:…:]`")]
    UnknownClass,
    /// `\Qa`
    #[error("a `\\Q` without its `\\E`")]
    UnendedQuote,
    /// A backslash is the last character.
    #[error("nothing behind the last backslash")]
    TrailingBackslash,
}
