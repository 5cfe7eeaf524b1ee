//! A host that changes while it is sampled: CPUs that come and go, a suspend.

use anyhow::Result;

use crate::outcome::Outcome;

pub(crate) fn cpu_comes_and_goes() -> Result<Outcome> {
    Ok(Outcome::Untested("not written yet".to_owned()))
}

pub(crate) fn suspend() -> Result<Outcome> {
    Ok(Outcome::Untested("not written yet".to_owned()))
}
