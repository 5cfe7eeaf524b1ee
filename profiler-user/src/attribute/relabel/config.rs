//! One entry of `relabel_configs`, as it stands in the configuration file: Prometheus' keys and defaults.
//!
//! Only names are checked here; what an action needs is checked by [`Relabel::new`](super::Relabel::new).

use std::fmt;

use serde::Deserialize;

/// One rule. What is absent has Prometheus' default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelabelConfig {
    /// Labels whose values are joined; default none.
    pub source_labels: Vec<String>,
    /// What stands between the values; default `;`.
    pub separator: Option<String>,
    /// RE2 pattern that the joined values (or label names) must match as a whole; default `(.*)`.
    pub regex: Option<String>,
    /// The divisor of `hashmod`.
    pub modulus: u64,
    /// The label that is written, or compared with; `replace` expands `$1`, `${1}` and `${name}` in it.
    pub target_label: String,
    /// What is written, with `$1`, `${1}` and `${name}` expanded; default `$1`.
    pub replacement: Option<String>,
    /// What the rule does; default `replace`.
    pub action: Action,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Action {
    /// If the pattern matches, writes a label.
    #[default]
    Replace,
    /// Goes on only if the pattern matches.
    Keep,
    /// Goes on only if the pattern does not match.
    Drop,
    /// Goes on only if the joined values are the target's value.
    KeepEqual,
    /// Goes on only if the joined values are not the target's value.
    DropEqual,
    /// Writes the remainder of a hash of the joined values.
    HashMod,
    /// Copies each label whose name matches to another name.
    LabelMap,
    /// Removes each label whose name matches.
    LabelDrop,
    /// Removes each label whose name does not match.
    LabelKeep,
    /// Writes the joined values in lower case.
    Lowercase,
    /// Writes the joined values in upper case.
    Uppercase,
}

impl Action {
    const ALL: [Self; 11] = [
        Self::Replace,
        Self::Keep,
        Self::Drop,
        Self::KeepEqual,
        Self::DropEqual,
        Self::HashMod,
        Self::LabelMap,
        Self::LabelDrop,
        Self::LabelKeep,
        Self::Lowercase,
        Self::Uppercase,
    ];

    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::KeepEqual => "keepequal",
            Self::DropEqual => "dropequal",
            Self::HashMod => "hashmod",
            Self::LabelMap => "labelmap",
            Self::LabelDrop => "labeldrop",
            Self::LabelKeep => "labelkeep",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl TryFrom<String> for Action {
    type Error = String;

    /// The name in any case, as Prometheus takes it.
    fn try_from(name: String) -> Result<Self, String> {
        Self::ALL.into_iter().find(|action| action.name().eq_ignore_ascii_case(&name)).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("unknown relabel action {name:?}; there are {known}")
        })
    }
}
