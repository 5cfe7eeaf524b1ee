//! Folders and files → archives that are the same bytes each time: everything is root's, and as old as the last commit.

use crate::shell;
use anyhow::Result;
use std::process::Command;

/// Modes that do not tell the umask of who built.
pub(super) const PLAIN_MODES: &str = "--mode=u+w,go-w,a+rX";

/// A tar that writes to its standard output; what goes in, and from where, is to be said. `changed_at`: in seconds since 1970.
pub(super) fn tar(changed_at: &str) -> Command {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--format=ustar", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg(format!("--mtime=@{changed_at}"));
    tar
}

/// Without the name and the time that gzip would note.
pub(super) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    shell::output_bytes(Command::new("gzip").args(["--no-name", "--best", "--stdout"]), bytes)
}
