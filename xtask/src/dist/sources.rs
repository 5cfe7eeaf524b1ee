//! The checkout → a copy of its sources elsewhere, for what must not write among them or has to see another path.

use crate::folders::fresh_folder;
use crate::shell;
use crate::workspace::Workspace;
use anyhow::Result;
use std::path::Path;

/// Copies what git knows or would take, changes included, into a fresh folder.
pub(super) fn copy(workspace: &Workspace, place: &Path) -> Result<()> {
    fresh_folder(place)?;
    let mut list = workspace.command("git");
    let files = shell::output(list.args(["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    let there: String =
        files.lines().filter(|file| workspace.path(file).exists()).flat_map(|file| [file, "\n"]).collect();
    let mut pack = workspace.command("tar");
    let packed = shell::output_bytes(pack.args(["--create", "--files-from=-"]), there.as_bytes())?;
    let mut unpack = workspace.command("tar");
    shell::output_bytes(unpack.arg("--extract").arg("--directory").arg(place), &packed)?;
    Ok(())
}
