//! Prometheus' `relabel_configs`: labels → other labels, or the word that the process is not wanted.
//!
//! ```text
//!   [[relabel_configs]] ──config──▶ RelabelConfig ──rule (re2, template)──▶ Rule ──apply──▶ labels, or dropped by it
//! ```
//!
//! Keys, defaults and meaning are those of Prometheus 3 with its default names (any UTF-8 but the empty one).
//! Bounded: rules, patterns, and what rules can make of a set of labels. Never asks for more than the labels it gets.

mod config;
mod error;
mod re2;
mod rule;
mod template;
#[cfg(test)]
mod tests;

pub use config::{Action, RelabelConfig};
pub use error::{PatternFault, RelabelError, RuleFault};
pub use rule::Rule;

use super::labels::Labels;

/// Each new process passes every rule.
const MAX_RULES: usize = 512;

/// A checked list of rules.
#[derive(Debug, Default)]
pub struct Relabel {
    rules: Vec<Rule>,
}

impl Relabel {
    /// Checks and compiles the rules.
    ///
    /// # Errors
    ///
    /// If there are too many, and for the first that makes no sense.
    pub fn new(configs: Vec<RelabelConfig>) -> Result<Self, RelabelError> {
        if configs.len() > MAX_RULES {
            return Err(RelabelError::TooManyRules { rules: configs.len(), max: MAX_RULES });
        }
        let rules = (1..).zip(configs).map(|(position, config)| {
            Rule::compile(position, config).map_err(|fault| RelabelError::Rule { position, fault })
        });
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }

    /// Changes the labels by each rule in turn; false if one drops them, which then are as that rule found them.
    pub fn apply(&self, labels: &mut Labels) -> bool {
        self.dropped_by(labels).is_none()
    }

    /// As [`apply`](Self::apply), and tells the rule that dropped them.
    pub fn dropped_by(&self, labels: &mut Labels) -> Option<&Rule> {
        self.rules.iter().find(|rule| !rule.apply(labels))
    }

    /// Whether there is a rule that may drop.
    pub fn may_drop(&self) -> bool {
        self.rules.iter().any(Rule::may_drop)
    }
}
