//! Faults of the disk below the spool, each with an exact account: a file system that is full, a folder that vanishes.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use profiler_tests::{Daemon, LastWords, machine_or_skip, tool_or_skip};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::faults::{Bench, clears_up, piles_up, windows_waiting};

/// What was dropped is all that is missing at the peer, and nothing waits.
fn ensure_only_dropped_is_missing(words: &LastWords, bench: &Bench) -> Result<()> {
    ensure!(words.windows_waiting == 0, "{words:?}");
    ensure!(words.endpoint.delivered + words.endpoint.dropped == words.in_windows, "{words:?}");
    words.ensure_delivered(&bench.peer)
}

fn dropped(daemon: &Daemon, reason: &str) -> Result<f64> {
    daemon.metric_of("flamekeeper_spool_dropped_samples_total", &format!("reason=\"{reason}\""))
}

/// Files of windows in a folder.
fn window_files(folder: &Path) -> Result<usize> {
    let names = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name()));
    let names = names.collect::<Result<Vec<_>>>()?;
    Ok(names.iter().filter(|name| name.to_string_lossy().ends_with(".window")).count())
}

/// A file that takes all the room that is left beside it.
struct Ballast(PathBuf);

impl Ballast {
    fn fill(&self) -> Result<()> {
        let mut file = File::options().append(true).create(true).open(&self.0).context("open the ballast")?;
        // Ever smaller, down to the last byte.
        for bytes in [64 << 10, 4096, 1] {
            let chunk = vec![1; bytes];
            loop {
                match file.write(&chunk) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => bail!("fill the disk: {error}"),
                }
            }
        }
        Ok(())
    }

    fn remove(&self) -> Result<()> {
        std::fs::remove_file(&self.0).context("remove the ballast")
    }
}

#[test]
fn a_full_disk_is_told_and_counted_and_got_over() -> Result<()> {
    tool_or_skip!("go");
    let bench = Bench::new(machine_or_skip!())?;
    // In mounts of the daemon's own: whatever becomes of this test, nothing stays mounted.
    let spool = bench.spool();
    std::fs::create_dir(&spool)?;
    let mount = format!("mount -t tmpfs -o size=1m,mode=0700 spool '{}'", spool.display());
    let daemon = Daemon::run(bench.capture()?.after_mounting(&mount), bench.peer.url()?, &[])?;
    let inside = Path::new("/proc").join(daemon.running.pid().to_string()).join("root");
    let folder = inside.join(spool.strip_prefix("/")?);
    let ballast = Ballast(folder.join("ballast"));
    bench.delivers(&daemon)?;

    // Nothing is left to make room with: it says so, and goes on in memory.
    let is_unready = || Ok(daemon.get("/readyz")?.0 == "503");
    daemon.wait_for("a spool that cannot be written", || {
        ballast.fill()?;
        is_unready()
    })?;
    let (_, why) = daemon.get("/readyz")?;
    let why = String::from_utf8(why)?;
    ensure!(why.contains("the spool cannot be written") && why.contains("no storage space"), "{why}");
    ensure!(daemon.metric("flamekeeper_spool_writable")? == 0.0 && daemon.get("/healthz")?.0 == "200");
    bench.peer.shut()?;
    daemon.wait_for("windows in memory", || {
        ballast.fill()?;
        Ok(windows_waiting(&daemon)? >= 4.0 && window_files(&folder)? == 0)
    })?;

    // With room again, all of them are written.
    ballast.remove()?;
    daemon.wait_for("readiness", || Ok(daemon.get("/readyz")?.0 == "200"))?;
    daemon.wait_for("windows on disk", || Ok(window_files(&folder)? >= 4))?;
    ensure!(dropped(&daemon, "not_written")? == 0.0 && dropped(&daemon, "evicted")? == 0.0);

    // Now there is something that can make room: the oldest goes, counted.
    daemon.wait_for("windows that made room", || {
        ballast.fill()?;
        Ok(dropped(&daemon, "evicted")? > 0.0)
    })?;
    ballast.remove()?;
    ends_with_some_dropped(daemon, &bench)
}

/// The database is back, and gets all but what was dropped.
fn ends_with_some_dropped(daemon: Daemon, bench: &Bench) -> Result<()> {
    bench.peer.open()?;
    clears_up(&daemon)?;
    let words = daemon.end()?;
    ensure!(words.endpoint.dropped > 0, "{words:?}");
    ensure_only_dropped_is_missing(&words, bench)
}

#[test]
fn a_folder_that_vanishes_is_made_anew_and_what_was_in_it_is_counted() -> Result<()> {
    tool_or_skip!("go");
    let bench = Bench::new(machine_or_skip!())?;
    let daemon = bench.daemon(&[])?;
    bench.delivers(&daemon)?;
    bench.peer.shut()?;
    piles_up(&daemon, 4.0)?;
    // Deleting file by file would meet files that come meanwhile.
    let (spool, elsewhere) = (bench.spool(), bench.spool().with_extension("deleted"));
    std::fs::rename(&spool, &elsewhere)?;
    std::fs::remove_dir_all(&elsewhere)?;
    daemon.wait_for("another folder with windows", || Ok(spool.is_dir() && window_files(&spool)? >= 2))?;
    ensure!(dropped(&daemon, "unreadable")? > 0.0);
    ensure!(daemon.get("/readyz")?.0 == "200");
    ends_with_some_dropped(daemon, &bench)
}

#[test]
fn what_is_no_folder_in_its_place_is_told_and_got_over() -> Result<()> {
    tool_or_skip!("go");
    let bench = Bench::new(machine_or_skip!())?;
    let daemon = bench.daemon(&[])?;
    bench.delivers(&daemon)?;
    // At once, so that it is not made anew between.
    let (spool, other) = (bench.spool(), bench.spool().with_extension("other"));
    std::fs::write(&other, "not a folder")?;
    renameat_with(CWD, &spool, CWD, &other, RenameFlags::EXCHANGE).context("exchange both")?;
    daemon.wait_for("a spool that cannot be written", || Ok(daemon.get("/readyz")?.0 == "503"))?;
    let why = String::from_utf8(daemon.get("/readyz")?.1)?;
    ensure!(why.contains("it is not a folder"), "{why}");
    std::fs::remove_file(&spool)?;
    daemon.wait_for("readiness", || Ok(daemon.get("/readyz")?.0 == "200"))?;
    clears_up(&daemon)?;
    ensure_only_dropped_is_missing(&daemon.end()?, &bench)
}
