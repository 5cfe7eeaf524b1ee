//! The Debian package under a real systemd: it starts the service, which samples whole stacks from inside its sandbox; an
//! upgrade, its removal and its purge do what Debian's users expect.

use super::guest::{self, boot};
use super::packages::{NOT_MADE, next_version, package};
use anyhow::Result;
use profiler_tests::{machine_or_skip, skip, test_name};
use std::path::Path;

const SCRIPT: &str = include_str!("packaged.sh");

const SAID: [&str; 10] = [
    "installed active enabled",
    "paranoid 2",
    "CapBnd: 000001c400080004",
    "NoNewPrivs: 1",
    "Seccomp: 2",
    "perl named",
    "stacks whole",
    "upgraded active new process, ours 1",
    "removed inactive, 0 processes, ours 1",
    "purged wholly",
];

fn prepare(root: &Path, deb: &Path) -> Result<()> {
    let place = root.join("packages");
    std::fs::create_dir(&place)?;
    std::fs::copy(deb, place.join("this.deb"))?;
    let folder = tempfile::Builder::new().prefix("flamekeeper-test-").tempdir()?;
    std::fs::copy(next_version(deb, folder.path())?, place.join("next.deb"))?;
    Ok(())
}

#[test]
fn the_package_lives_its_life_under_systemd() -> Result<()> {
    // The guest is always of this architecture.
    let Some(deb) = package("x86_64", "deb") else { return skip(test_name!(), NOT_MADE) };
    let root = match guest::root()? {
        Ok(root) => root,
        Err(reason) => return skip(test_name!(), &reason),
    };
    prepare(root.path(), &deb)?;
    let _machine = machine_or_skip!();
    let console = boot(root.path(), SCRIPT)?;
    println!("{}", console.0);
    console.expect(&SAID)
}
