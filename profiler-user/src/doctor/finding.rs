//! What a check says: a state, what was found, and, if that is not all it should be, the cost and the cure.

use serde::Serialize;

use crate::sample::capabilities::Remedy;

/// How a check ended, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing is lost.
    Ok,
    /// Profiling works, with the loss that the cost names.
    Limited,
    /// Without this nothing can be sampled.
    Missing,
}

impl State {
    /// As in the report.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Limited => "limited",
            Self::Missing => "missing",
        }
    }
}

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The judgement.
    pub state: State,
    /// What was found, as a few words.
    pub found: String,
    /// What the user loses; `None` if nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
    /// Commands to type for the cure, each of which will do; often none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
}

impl Finding {
    pub(super) fn ok(found: impl Into<String>) -> Self {
        Self { state: State::Ok, found: found.into(), cost: None, cure: None, commands: Vec::new() }
    }

    pub(super) fn limited(found: impl Into<String>, cost: &str) -> Self {
        Self { state: State::Limited, cost: Some(cost.to_owned()), ..Self::ok(found) }
    }

    pub(super) fn missing(found: impl Into<String>, cost: &str) -> Self {
        Self { state: State::Missing, cost: Some(cost.to_owned()), ..Self::ok(found) }
    }

    pub(super) fn cure(self, cure: &str) -> Self {
        Self { cure: Some(cure.to_owned()), ..self }
    }

    pub(super) fn command(mut self, command: &str) -> Self {
        self.commands.push(command.to_owned());
        self
    }

    pub(super) fn remedy(self, remedy: Remedy) -> Self {
        Self { commands: remedy.commands, ..self.cure(remedy.advice) }
    }
}
