//! What a test found → the line that the host reads from the console.
//!
//! ```text
//!   VM: test loads ok seconds=41.2 complete=99.84 verified=31002 nanos=5120 samples=812 | ten rounds
//! ```
//!
//! Figures that a test does not have are left out.

use std::time::Duration;

/// What a test measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// Share of complete and named stacks, percent.
    pub(crate) complete_percent: Option<f64>,
    /// Instructions that the kernel's verifier looked at, all programs together.
    pub(crate) verified: Option<u64>,
    /// Run time of the BPF programs by samples in the profile.
    pub(crate) nanos_a_sample: Option<u64>,
    /// Samples of the workload.
    pub(crate) samples: Option<u64>,
    /// What else there is to say, on one line.
    pub(crate) words: String,
}

/// How a test ended, unless it failed.
pub(crate) enum Outcome {
    Passed(Figures),
    /// Why this kernel cannot be asked.
    Untested(String),
}

impl Outcome {
    /// Passed, with nothing but words.
    pub(crate) fn said(words: impl Into<String>) -> Self {
        Self::Passed(Figures { words: words.into(), ..Figures::default() })
    }
}

/// The line.
pub(crate) fn line(name: &str, result: &anyhow::Result<Outcome>, took: Duration) -> String {
    let seconds = format!("seconds={:.1}", took.as_secs_f64());
    let (verdict, figures, words) = match result {
        Ok(Outcome::Passed(figures)) => ("ok", figures.fields(), figures.words.clone()),
        Ok(Outcome::Untested(reason)) => ("untested", String::new(), reason.clone()),
        Err(error) => ("failed", String::new(), format!("{error:#}")),
    };
    let first = words.lines().next().unwrap_or_default();
    format!("VM: test {name} {verdict} {seconds}{figures} | {first}")
}

impl Figures {
    /// The same with words.
    pub(crate) fn saying(self, words: &str) -> Self {
        Self { words: words.to_owned(), ..self }
    }

    fn fields(&self) -> String {
        let mut text = String::new();
        if let Some(percent) = self.complete_percent {
            text += &format!(" complete={percent:.2}");
        }
        for (key, value) in
            [("verified", self.verified), ("nanos", self.nanos_a_sample), ("samples", self.samples)]
        {
            if let Some(value) = value {
                text += &format!(" {key}={value}");
            }
        }
        text
    }
}
