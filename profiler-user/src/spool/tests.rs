//! `ls` and `export` over a real folder, as somebody at a terminal sees them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use expect_test::{Expect, expect};
use tempfile::TempDir;

use super::*;
use crate::cli::{Cli, Command};
use crate::deliver::file::fixture;
use crate::deliver::finished::FinishedWindow;
use crate::deliver::series::{SizeLimits, encode_for_database};
use crate::deliver::spool::state::{Endpoint, EndpointKey, State};
use crate::deliver::spool::{Folder, Put, Spool, SpoolClock, SpoolSettings};
use crate::host::MonotonicNanos;

const START: u64 = 1_795_342_500; // 2026-11-22 10:15:00

struct StandingClock;

impl SpoolClock for StandingClock {
    fn wall(&self) -> WallNanos {
        WallNanos((START + 60) * 1_000_000_000)
    }

    fn monotonic(&self) -> MonotonicNanos {
        MonotonicNanos(0)
    }
}

/// Three windows of two services each; the first too old for one endpoint, the third half delivered.
fn spool(folder: &Path) {
    let endpoint = |url: &str, name: &str| Endpoint {
        key: EndpointKey::new(url, ""),
        name: name.to_owned(),
        takes_back: None,
    };
    let endpoints = vec![endpoint("a", "http://pyroscope:4040"), endpoint("b", "backup")];
    let keys: Vec<EndpointKey> = endpoints.iter().map(|endpoint| endpoint.key).collect();
    let disk = Arc::new(Folder::new(folder));
    let spool =
        Spool::open(SpoolSettings::default(), endpoints, disk, Arc::new(StandingClock), "web-1", 7).unwrap();
    let mark = |window, key: usize, profiles: &[usize], state| {
        let chore = spool.mark(window, keys[key], profiles, state);
        chore.iter().for_each(|chore| spool.carry_out(chore));
    };
    let mut windows = Vec::new();
    for number in 0..3 {
        let mut profiles = Vec::new();
        for service in ["shop", "api/v1"] {
            let labels = [("service_name", service), ("pod", "p-1")].into_iter().collect();
            let mut profile = fixture::nasty();
            profile.started_nanos = (START + 15 * number) * 1_000_000_000;
            profiles.extend(encode_for_database(&labels, &profile, SizeLimits::default()).unwrap());
        }
        let window = FinishedWindow {
            started: WallNanos((START + 15 * number) * 1_000_000_000),
            duration: Duration::from_secs(15),
            profiles,
        };
        let Put::Written(id) = spool.put(window) else { panic!("a folder that can be written to") };
        windows.push(id);
    }
    mark(windows[0], 0, &[0, 1], State::TooOld);
    mark(windows[0], 1, &[0, 1], State::Delivered);
    mark(windows[2], 0, &[1], State::Delivered);
}

struct Ran {
    status: Result<u8, String>,
    out: String,
    messages: String,
}

/// `flamekeeper spool ARGUMENTS --spool-dir FOLDER`
fn run_in(folder: &Path, arguments: &[&str]) -> Ran {
    let fixed = ["flamekeeper", "spool"].into_iter().chain(arguments.iter().copied());
    let arguments = fixed.chain(["--spool-dir", folder.to_str().unwrap()]);
    let Command::Spool(args) = Cli::try_parse_from(arguments).unwrap().command else { panic!("of spool") };
    let (mut out, mut messages) = (Vec::new(), Vec::new());
    let mut console = Console { out: &mut out, messages: &mut messages, is_terminal: false };
    let status = run(&args, StandingClock.wall(), &mut console).map_err(|error| error.to_string());
    let text = |bytes| String::from_utf8(bytes).unwrap().replace(folder.to_str().unwrap(), "SPOOL");
    let status = status.map_err(|error| error.replace(folder.to_str().unwrap(), "SPOOL"));
    Ran { status, out: text(out), messages: text(messages) }
}

fn filled() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    spool(&folder.path().join("spool"));
    folder
}

#[track_caller]
fn check_ls(folder: &Path, arguments: &[&str], expected: Expect) {
    let ran = run_in(folder, &[&["ls"], arguments].concat());
    assert_eq!((ran.status, ran.messages.as_str()), (Ok(0), ""));
    expected.assert_eq(&ran.out);
}

#[test]
fn ls_is_a_table() {
    let folder = filled();
    let spool = folder.path().join("spool");
    check_ls(
        &spool,
        &[],
        expect![[r#"
            SPOOL: 3 windows of web-1, 6.8 KiB
            1.2 s of CPU time in 114 samples, 2026-11-22 10:15:00 to 2026-11-22 10:15:45 UTC

            STARTED (UTC)        DURATION  PROFILES  SAMPLES  CPU TIME     SIZE  http://pyroscope:4040   backup
            2026-11-22 10:15:00    15.0 s         2       38     0.4 s  2.3 KiB  too old                 delivered
            2026-11-22 10:15:15    15.0 s         2       38     0.4 s  2.3 KiB  waiting                 waiting
            2026-11-22 10:15:30    15.0 s         2       38     0.4 s  2.3 KiB  1 waiting, 1 delivered  waiting
        "#]],
    );
    check_ls(
        &spool,
        &["--state", "too-old", "--profiles"],
        expect![[r#"
            SPOOL: 1 window of web-1, 2.3 KiB (2 not selected)
            0.4 s of CPU time in 38 samples, 2026-11-22 10:15:00 to 2026-11-22 10:15:15 UTC

            STARTED (UTC)        DURATION  PROFILES  SAMPLES  CPU TIME     SIZE  http://pyroscope:4040  backup
            2026-11-22 10:15:00    15.0 s         2       38     0.4 s  2.3 KiB  too old                delivered
                                                          19     0.2 s    740 B  too old                delivered  {pod="p-1", service_name="shop"}
                                                          19     0.2 s    740 B  too old                delivered  {pod="p-1", service_name="api/v1"}
        "#]],
    );
    check_ls(
        &spool,
        &["--label", "service_name=shop", "--since", "40s"],
        expect![[r#"
            SPOOL: 2 windows of web-1, 4.5 KiB (1 not selected)
            0.4 s of CPU time in 38 samples, 2026-11-22 10:15:15 to 2026-11-22 10:15:45 UTC

            STARTED (UTC)        DURATION  PROFILES  SAMPLES  CPU TIME     SIZE  http://pyroscope:4040  backup
            2026-11-22 10:15:15    15.0 s         1       19     0.2 s  2.3 KiB  waiting                waiting
            2026-11-22 10:15:30    15.0 s         1       19     0.2 s  2.3 KiB  waiting                waiting
        "#]],
    );
    check_ls(
        &spool,
        &["--until", "2026-11-22T10:15:10", "--since", "2026-11-22"],
        expect![[r#"
            SPOOL: 1 window of web-1, 2.3 KiB (2 not selected)
            0.4 s of CPU time in 38 samples, 2026-11-22 10:15:00 to 2026-11-22 10:15:15 UTC

            STARTED (UTC)        DURATION  PROFILES  SAMPLES  CPU TIME     SIZE  http://pyroscope:4040  backup
            2026-11-22 10:15:00    15.0 s         2       38     0.4 s  2.3 KiB  too old                delivered
        "#]],
    );
    check_ls(
        &spool,
        &["--label", "service_name=nobody"],
        expect![[r#"
        SPOOL: no windows (3 not selected)
    "#]],
    );
    std::fs::write(spool.join("notes\n.txt"), "mine").unwrap();
    std::fs::write(spool.join("0000000000000009-0000000000000007.window"), "FKWINDOW").unwrap();
    check_ls(
        &spool,
        &["--state", "poisoned"],
        expect![[r#"
        SPOOL: no windows (3 not selected)

        2 things that are no readable windows in the folder:
          notes\n.txt: is no window of a spool
          0000000000000009-0000000000000007.window: is not whole: 8 bytes
    "#]],
    );
}

#[test]
fn ls_is_json() {
    let folder = filled();
    let spool = folder.path().join("spool");
    check_ls(
        &spool,
        &["--json", "--until", "2026-11-22T10:15:10", "--profiles"],
        expect![[r#"
            {
              "endpoints": [
                {
                  "key": "8ae76df495e14441",
                  "name": "http://pyroscope:4040"
                },
                {
                  "key": "2ce922e7608f8ebf",
                  "name": "backup"
                }
              ],
              "other_files": [],
              "spool": "SPOOL",
              "windows": [
                {
                  "cpu_seconds": 0.38383838,
                  "duration_seconds": 15.0,
                  "file_bytes": 2307,
                  "host": "web-1",
                  "id": "0000000000000001-0000000000000007",
                  "profile_count": 2,
                  "profiles": [
                    {
                      "bytes": 740,
                      "cpu_seconds": 0.19191919,
                      "labels": {
                        "pod": "p-1",
                        "service_name": "shop"
                      },
                      "samples": 19,
                      "states": {
                        "backup": "delivered",
                        "http://pyroscope:4040": "too-old"
                      }
                    },
                    {
                      "bytes": 740,
                      "cpu_seconds": 0.19191919,
                      "labels": {
                        "pod": "p-1",
                        "service_name": "api/v1"
                      },
                      "samples": 19,
                      "states": {
                        "backup": "delivered",
                        "http://pyroscope:4040": "too-old"
                      }
                    }
                  ],
                  "samples": 38,
                  "started": "2026-11-22T10:15:00.000Z",
                  "states": {
                    "backup": {
                      "delivered": 2
                    },
                    "http://pyroscope:4040": {
                      "too-old": 2
                    }
                  }
                }
              ],
              "windows_left_out": 2
            }
        "#]],
    );
    let ran = run_in(&spool, &["ls", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["windows"][2]["states"]["http://pyroscope:4040"]["waiting"], 1);
    assert_eq!((&json["windows"][2]["profile_count"], json["windows"][2].get("profiles")), (&2.into(), None));
}

#[test]
fn a_spool_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run_in(&folder.path().join("none"), &["ls"]);
    expect!["the spool SPOOL cannot be opened: No such file or directory (os error 2)"]
        .assert_eq(&ran.status.unwrap_err());
    let empty = run_in(folder.path(), &["ls"]);
    assert_eq!((empty.status, empty.out.as_str()), (Ok(0), "SPOOL: no windows\n"));
}

#[test]
fn export_merges_windows() {
    let folder = filled();
    let (spool, output) = (folder.path().join("spool"), folder.path().join("all.folded"));
    let ran = run_in(&spool, &["export", "-o", output.to_str().unwrap()]);
    assert_eq!(ran.status, Ok(0));
    let line = ran.messages.replace(folder.path().to_str().unwrap(), "FOLDER");
    expect![[r#"
        wrote FOLDER/all.folded (546 B): 1.2 s of CPU time in 114 samples, 3 windows from 2026-11-22 10:15:00 UTC
    "#]].assert_eq(&line);
    let nasty = fixture::nasty();
    let weight: u64 = nasty.samples.iter().map(|sample| sample.weight).sum();
    let count: u64 = nasty.samples.iter().map(|sample| sample.count).sum();
    let text = std::fs::read_to_string(&output).unwrap();
    let sum = |service: &str| -> u64 {
        let lines = text.lines().filter(|line| line.starts_with(service));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    assert_eq!((sum("shop;"), sum("api/v1;")), (3 * count, 3 * count), "{text}");
    assert!(weight > 0);
    // Less of it.
    let ran = run_in(
        &spool,
        &["export", "-o", output.to_str().unwrap(), "--label", "service_name=shop", "--state", "too-old"],
    );
    assert_eq!(ran.status, Ok(0));
    let text = std::fs::read_to_string(&output).unwrap();
    assert!(text.lines().all(|line| line.starts_with("shop;")));
}

#[test]
fn export_by_service_is_a_file_each() {
    let folder = filled();
    let (spool, output) = (folder.path().join("spool"), folder.path().join("new/out"));
    let ran = run_in(&spool, &["export", "--by-service", "-o", output.to_str().unwrap()]);
    assert_eq!(ran.status, Ok(0));
    let mut names: Vec<_> =
        std::fs::read_dir(&output).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["api_v1.pb.gz", "shop.pb.gz"]);
    expect![[r#"
        wrote FOLDER/new/out/api_v1.pb.gz (781 B): 0.6 s of CPU time in 57 samples of api/v1, 3 windows from 2026-11-22 10:15:00 UTC
        wrote FOLDER/new/out/shop.pb.gz (778 B): 0.6 s of CPU time in 57 samples of shop, 3 windows from 2026-11-22 10:15:00 UTC
    "#]].assert_eq(&ran.messages.replace(folder.path().to_str().unwrap(), "FOLDER"));
}

#[test]
fn what_cannot_be_exported_is_said() {
    let folder = filled();
    let spool = folder.path().join("spool");
    let none = run_in(&spool, &["export", "-o", "x.svg", "--label", "service_name=nobody"]);
    expect!["nothing in SPOOL is selected; `flamekeeper spool ls` lists what there is"]
        .assert_eq(&none.status.unwrap_err());
    let timeline = run_in(&spool, &["export", "-o", "x.json"]);
    expect!["x.json: firefox needs single samples with their times, and none were kept"]
        .assert_eq(&timeline.status.unwrap_err());
    // One window is damaged: the others are exported.
    let name = std::fs::read_dir(&spool).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&name).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&name, bytes).unwrap();
    let output = folder.path().join("rest.svg");
    let ran = run_in(&spool, &["export", "-o", output.to_str().unwrap()]);
    assert_eq!(ran.status, Ok(1));
    assert!(ran.messages.starts_with("left out: "), "{}", ran.messages);
    assert!(output.exists());
}
