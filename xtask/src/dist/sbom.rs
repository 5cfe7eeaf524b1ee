//! What a binary is made of: every crate with version, licence and sum, as CycloneDX 1.5 in JSON.
//!
//! cargo-cyclonedx writes beside every manifest of a workspace, and the paths of this machine into it: so it sees a copy, and
//! the paths are taken out.

use super::architecture::Architecture;
use super::sources;
use crate::shell;
use crate::tools;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::Path;

const NAME: &str = "flamekeeper.cdx";

/// Writes the list into the architecture's folder.
pub(super) fn make(workspace: &Workspace, architecture: Architecture, folder: &Path) -> Result<()> {
    let copy = workspace.target().join("sbom");
    sources::copy(workspace, &copy)?;
    let mut list = workspace.command(tools::cargo_cyclonedx(workspace)?);
    list.current_dir(&copy).args(["cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5"]);
    list.args(["--no-build-deps", "--target", &architecture.target(), "--override-filename", NAME]);
    shell::run(list.env("SOURCE_DATE_EPOCH", workspace.changed_at()?))?;
    let made = copy.join("profiler-user").join(format!("{NAME}.json"));
    let text = fs::read_to_string(&made).with_context(|| format!("read {}", made.display()))?;
    let text = text.replace(&format!("{}/", copy.display()), "");
    ensure!(!text.contains(&copy.display().to_string()), "a path of this machine is left in {NAME}");
    let crates = components(&text)?;
    ensure!(crates > 100, "it lists {crates} crates only");
    fs::write(folder.join(format!("{NAME}.json")), text).context("write the list")?;
    fs::remove_dir_all(&copy).with_context(|| format!("remove {}", copy.display()))
}

/// How many it lists.
fn components(text: &str) -> Result<usize> {
    let list: Value = serde_json::from_str(text).context("the list is no JSON")?;
    ensure!(list["bomFormat"] == "CycloneDX", "it is no CycloneDX");
    Ok(list["components"].as_array().map_or(0, Vec::len))
}
