//! Outputs that cannot be, found before sampling, and what writing leaves behind when it fails.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use expect_test::{Expect, expect};

use super::fixture::nasty;
use super::{BadOutputs, Destination, Format, OutputError, OutputPlan, write_all};
use crate::aggregate::profile::Profile;

fn plan(outputs: &[&Path]) -> Result<OutputPlan, BadOutputs> {
    let outputs: Vec<PathBuf> = outputs.iter().map(|&path| path.to_owned()).collect();
    OutputPlan::new(&outputs, None, false)
}

/// What is in a folder, sorted.
fn names_in(folder: &Path) -> Vec<String> {
    let name = |entry: Result<fs::DirEntry, _>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

/// Checks the messages, with the temporary folder's name taken out of them.
fn check_errors(bad: &BadOutputs, folder: &Path, expected: &Expect) {
    expected.assert_eq(&bad.to_string().replace(&folder.display().to_string(), "FOLDER"));
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "").unwrap();
    let bad = plan(&[
        &at("a.svg"),
        &at("a.xyz"),
        &at("missing/a.svg"),
        &at("file/a.svg"),
        folder.path(),
        &at("./a.svg"),
        Path::new("/proc/a.svg"),
        &at(".."),
    ])
    .unwrap_err();
    check_errors(
        &bad,
        folder.path(),
        &expect![[r#"
            FOLDER/a.xyz: the ending says no format; known are .pb.gz, .pprof, .folded, .svg, .json, .speedscope.json (or name one with --format)
            FOLDER/missing/a.svg: the folder FOLDER/missing cannot be used: No such file or directory (os error 2)
            FOLDER/file/a.svg: the folder FOLDER/file cannot be used: Not a directory (os error 20)
            FOLDER: is a folder, not a file
            FOLDER/./a.svg: named twice as an output
            /proc/a.svg: cannot write into the folder /proc: No such file or directory (os error 2)
            FOLDER/..: is a folder, not a file"#]],
    );
    assert!(bad.is_usage());
    assert_eq!(names_in(folder.path()), ["file"], "trying leaves nothing behind");
}

#[test]
fn a_missing_folder_is_no_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!plan(&[&folder.path().join("missing/a.svg")]).unwrap_err().is_usage());
}

#[test]
fn standard_output_is_pprof_but_not_on_a_terminal() {
    let outputs = [PathBuf::from("-")];
    let plan = OutputPlan::new(&outputs, None, false).unwrap();
    assert!(plan.uses_stdout());
    assert_eq!(plan.targets()[0].format, Format::Pprof);
    assert_eq!(
        OutputPlan::new(&["/dev/stdout".into()], None, false).unwrap().targets()[0].destination,
        Destination::Stdout
    );

    let bad = OutputPlan::new(&outputs, None, true).unwrap_err();
    expect!["-: pprof is binary and standard output is a terminal; redirect it, or ask for text with --format folded"].assert_eq(&bad.to_string());
    assert!(OutputPlan::new(&outputs, Some(Format::Folded), true).is_ok());
    let twice = OutputPlan::new(&["-".into(), "/dev/stdout".into()], None, false).unwrap_err();
    assert!(matches!(twice.0[..], [OutputError::Duplicate { .. }]));
}

#[test]
fn a_format_overrides_every_ending() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = [folder.path().join("a.svg"), folder.path().join("b")];
    let plan = OutputPlan::new(&outputs, Some(Format::Firefox), false).unwrap();
    assert!(plan.targets().iter().all(|target| target.format == Format::Firefox));
    assert!(plan.needs_timeline());
    assert!(!OutputPlan::new(&outputs[..1], None, false).unwrap().needs_timeline());
}

#[test]
fn a_link_stays_a_link_and_is_no_way_to_name_a_file_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real.svg"), folder.path().join("link.svg"));
    fs::write(&real, "old").unwrap();
    symlink(&real, &link).unwrap();
    assert!(matches!(plan(&[&real, &link]).unwrap_err().0[..], [OutputError::Duplicate { .. }]));
    let plan = plan(&[&link]).unwrap();
    write_all(&nasty(), &plan).remove(0).result.unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&real).unwrap().contains("</svg>"));
}

#[test]
fn every_format_is_written_whole() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["a.folded", "a.json", "a.pb.gz", "a.pprof", "a.speedscope.json", "a.svg"];
    let paths = names.map(|name| folder.path().join(name));
    let plan = OutputPlan::new(&paths, None, false).unwrap();
    for report in write_all(&nasty(), &plan) {
        let length = fs::metadata(&report.target.given).unwrap().len();
        assert_eq!(report.result.unwrap(), length);
        assert!(length > 0);
    }
    assert_eq!(names_in(folder.path()), names);
}

#[test]
fn one_failed_output_keeps_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good.folded");
    let plan = OutputPlan::new(&["/dev/full".into(), good.clone()], Some(Format::Folded), false).unwrap();
    assert_eq!(plan.targets()[0].destination, Destination::InPlace("/dev/full".into()));
    let reports = write_all(&nasty(), &plan);
    let error = reports[0].result.as_ref().unwrap_err();
    assert_eq!(error.to_string(), "/dev/full: not written");
    assert_eq!(
        std::error::Error::source(error).unwrap().to_string(),
        "No space left on device (os error 28)"
    );
    assert!(reports[1].result.is_ok());
    assert!(fs::read_to_string(good).unwrap().starts_with("app;main;"));
    assert!(Path::new("/dev/full").exists(), "a device is not replaced");
}

#[test]
fn a_failed_output_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.json");
    fs::write(&path, "old").unwrap();
    let without_times = Profile { timeline: None, ..nasty() };
    let reports = write_all(&without_times, &plan(&[&path]).unwrap());
    assert!(matches!(reports[0].result, Err(OutputError::NoTimeline { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(names_in(folder.path()), ["a.json"]);
}

#[test]
fn a_folder_that_went_away_meanwhile_is_a_failed_output() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let plan = plan(&[&inner.join("a.svg")]).unwrap();
    fs::remove_dir(&inner).unwrap();
    assert!(matches!(write_all(&nasty(), &plan)[0].result, Err(OutputError::Write { .. })));
}

/// A file system of its own, gone when this is dropped.
struct Mounted(tempfile::TempDir);

impl Mounted {
    /// A tmpfs with these options; nothing, with a loud word, where that is not permitted.
    fn tmpfs(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "flamekeeper-test"]).arg(folder.path());
        if command.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        eprintln!("SKIPPED: this user cannot mount a tmpfs ({options}), so a full disk was not tried");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.path()).status();
        assert!(std::thread::panicking() || unmounted.is_ok_and(|status| status.success()));
    }
}

#[test]
fn a_full_disk_is_found_before_sampling() {
    let Some(disk) = Mounted::tmpfs("size=16k") else { return };
    fs::write(disk.path().join("filler"), [0; 16 * 1024]).unwrap();
    let bad = plan(&[&disk.path().join("a.svg")]).unwrap_err();
    check_errors(
        &bad,
        disk.path(),
        &expect!["FOLDER/a.svg: no space left in the folder FOLDER: No space left on device (os error 28)"],
    );
    assert_eq!(names_in(disk.path()), ["filler"]);
}

#[test]
fn a_read_only_disk_is_found_before_sampling() {
    let Some(disk) = Mounted::tmpfs("ro,size=16k") else { return };
    let bad = plan(&[&disk.path().join("a.svg")]).unwrap_err();
    check_errors(
        &bad,
        disk.path(),
        &expect!["FOLDER/a.svg: cannot write into the folder FOLDER: Read-only file system (os error 30)"],
    );
}

#[test]
fn a_disk_that_fills_up_fails_that_output_and_gets_its_room_back() {
    let Some(disk) = Mounted::tmpfs("size=32k") else { return };
    let elsewhere = tempfile::tempdir().unwrap();
    let (small, large) = (disk.path().join("a.folded"), disk.path().join("a.svg"));
    let other = elsewhere.path().join("b.svg");
    let plan = plan(&[&large, &small, &other]).unwrap();
    fs::write(disk.path().join("filler"), [0; 24 * 1024]).unwrap();
    let reports = write_all(&nasty(), &plan);
    let error = reports[0].result.as_ref().unwrap_err();
    assert!(
        matches!(error, OutputError::Write { source, .. } if source.kind() == std::io::ErrorKind::StorageFull)
    );
    assert!(reports[1].result.is_ok() && reports[2].result.is_ok());
    assert_eq!(names_in(disk.path()), ["a.folded", "filler"]);
}

#[test]
fn a_pipe_is_written_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.folded");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let plan = plan(&[&pipe]).unwrap();
    let reader = {
        let pipe = pipe.clone();
        std::thread::spawn(move || fs::read_to_string(pipe).unwrap())
    };
    let written = write_all(&nasty(), &plan).remove(0).result.unwrap();
    assert_eq!(reader.join().unwrap().len() as u64, written);
    assert_eq!(names_in(folder.path()), ["pipe.folded"]);
}
