//! A folder → `SHA256SUMS` in it, as `sha256sum --check` reads it, and a line a file for the person who waits.

use crate::folders::files_below;
use crate::shell;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

const SUMS: &str = "SHA256SUMS";

/// Writes the sums of every file below the folder, and says the same with sizes.
pub(super) fn write(folder: &Path) -> Result<String> {
    let mut files = files_below(folder)?;
    // The files of an image bear their sums as their names.
    files.retain(|file| file != Path::new(SUMS) && !file.starts_with("oci"));
    let (mut sums, mut report) = (String::new(), String::new());
    for file in files {
        let path = folder.join(&file);
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let line = format!("{}  {}\n", shell::sha256(&bytes)?, file.display());
        report += &format!("{:>10} bytes  {line}", bytes.len());
        sums += &line;
    }
    fs::write(folder.join(SUMS), sums).context("write the sums")?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_as_sha256sum_writes_them() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        fs::write(folder.path().join("b/a"), b"abc").unwrap();
        fs::write(folder.path().join(SUMS), b"of before").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b/a\n";
        assert_eq!(write(folder.path()).unwrap(), format!("         3 bytes  {expected}"));
        assert_eq!(fs::read_to_string(folder.path().join(SUMS)).unwrap(), expected);
    }
}
