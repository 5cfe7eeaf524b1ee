//! Known programs that keep two CPUs busy while both profilers are measured: C, Node and a JVM.
//!
//! A runtime that the machine does not have is named and replaced by a second program in C. They run in the
//! bench's temporary folder and end with the bench.

use super::cpus;
use super::running::Running;
use crate::shell;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const IN_C: &str = include_str!("load/busy.c");
const IN_JAVASCRIPT: &str = include_str!("load/busy.js");
const IN_JAVA: &str = include_str!("load/Busy.java");

/// How many CPUs are kept busy, however many there are.
pub(super) const BUSY_CPUS: usize = 2;
/// A JVM that compiles its program first, on a machine that is otherwise busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// All of them.
pub(super) struct Load {
    workers: Vec<Worker>,
}

struct Worker {
    name: &'static str,
    running: Running,
    said: PathBuf,
    perf_map: PathBuf,
}

impl Load {
    /// Writes, builds and starts them; they are not busy yet.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let c_program = build_c(folder)?;
        let mut load = Self { workers: Vec::new() };
        cpus::on_first_cpus(BUSY_CPUS, || load.start_all(folder, &c_program))?;
        Ok(load)
    }

    fn start_all(&mut self, folder: &Path, c_program: &Path) -> Result<()> {
        self.add("busy-c", folder, &mut Command::new(c_program))?;
        fs::write(folder.join("busy.js"), IN_JAVASCRIPT)?;
        fs::write(folder.join("Busy.java"), IN_JAVA)?;
        let runtimes: [(&str, &str, &[&str]); 2] =
            [("node", "busy-node", &["--perf-basic-prof", "busy.js"]), ("java", "busy-java", &["Busy.java"])];
        for (program, name, arguments) in runtimes {
            match shell::find_program(program) {
                Some(path) => self.add(name, folder, Command::new(path).args(arguments))?,
                None => {
                    eprintln!("there is no {program} here: one more program in C takes its place");
                    self.add("busy-c-too", folder, &mut Command::new(c_program))?;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &'static str, folder: &Path, command: &mut Command) -> Result<()> {
        let said = folder.join(format!("{name}-{}.out", self.workers.len()));
        let out = File::create(&said).with_context(|| format!("create {}", said.display()))?;
        let errors = out.try_clone()?;
        command.current_dir(folder).stdin(Stdio::null()).stdout(out).stderr(errors);
        let running = Running::start(name, command)?;
        let perf_map = format!("/tmp/perf-{}.map", running.process()?.pid).into();
        self.workers.push(Worker { name, running, said, perf_map });
        Ok(())
    }

    /// Waits until every one of them does what it is for.
    pub(super) async fn is_busy(&self) -> Result<()> {
        for worker in &self.workers {
            while !fs::read_to_string(&worker.said).is_ok_and(|said| said.contains("ready")) {
                worker.check()?;
                if worker.running.started().elapsed() > PATIENCE {
                    bail!("{} did not get ready in {PATIENCE:?}", worker.name);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// Fails if one has ended.
    pub(super) fn check(&self) -> Result<()> {
        self.workers.iter().try_for_each(Worker::check)
    }

    /// What all have used since they were started.
    pub(super) fn cpu(&self) -> Result<Duration> {
        self.workers.iter().map(|worker| worker.running.family_cpu()).sum()
    }

    /// Their names and pids, for the report.
    pub(super) fn names(&self) -> String {
        self.workers.iter().map(|worker| worker.name).collect::<Vec<_>>().join(", ")
    }
}

impl Worker {
    fn check(&self) -> Result<()> {
        if self.running.has_ended()? {
            let said = fs::read_to_string(&self.said).unwrap_or_default();
            bail!("{} ended by itself: {}", self.name, said.trim());
        }
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Only Node writes one.
        fs::remove_file(&self.perf_map).ok();
    }
}

fn build_c(folder: &Path) -> Result<PathBuf> {
    compile(folder, "busy-c", IN_C, &["-O2", "-g", "-fno-omit-frame-pointer"])
}

/// Builds a program of one file in C, by the machine's own compiler.
pub(super) fn compile(folder: &Path, name: &str, text: &str, options: &[&str]) -> Result<PathBuf> {
    let (source, program) = (folder.join(format!("{name}.c")), folder.join(name));
    fs::write(&source, text).with_context(|| format!("write {}", source.display()))?;
    shell::output(Command::new("cc").args(options).arg("-o").args([&program, &source]))?;
    Ok(program)
}
