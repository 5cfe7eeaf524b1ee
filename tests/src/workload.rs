//! Known-answer programs: from a source in `workloads/` to a process that does what it is for.
//!
//! A source's first line says how it is built: `// build:` and the compiler's arguments. A built program is
//! kept under a name that has the hash of all it was made from, so it is built once and never stale.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::child::Running;
use crate::places;

/// Endings of sources, and how each is made into a program.
const LANGUAGES: &[(&str, &[&str])] = &[
    ("c", &["gcc", "-Wall"]),
    ("cpp", &["g++", "-Wall"]),
    ("rs", &["rustc", "--edition=2024"]),
    ("go", &["go", "build"]),
];

/// Endings of scripts, and what runs them: the distribution's own interpreters, wherever PATH leads.
const INTERPRETERS: &[(&str, &[&str])] = &[
    ("js", &["node", "--perf-basic-prof"]),
    ("py", &["/usr/bin/python3"]),
    ("pl", &["/usr/bin/perl"]),
    ("rb", &["/usr/bin/ruby"]),
    ("php", &["/usr/bin/php"]),
];

/// Sources that others include.
const INCLUDED: &[&str] = &["burn.h", "burn_code.h", "family_cpu.h", "c_deep.c"];

/// A compiler can be slow on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A program that can be started.
#[derive(Clone, Debug)]
pub struct Workload {
    command: Vec<OsString>,
    args: Vec<OsString>,
}

impl Workload {
    /// Builds `workloads/NAME.*`, or finds it built.
    pub fn build(name: &str) -> Result<Self> {
        Self::variant(name, name, &[])
    }

    /// Builds `workloads/NAME.*` as a program of another name, with further arguments for the compiler, or for the
    /// interpreter.
    pub fn variant(name: &str, as_name: &str, flags: &[&str]) -> Result<Self> {
        let sources = places::workload_sources();
        let source =
            |ending: &str| Some(sources.join(format!("{name}.{ending}"))).filter(|path| path.is_file());
        for (ending, compiler) in LANGUAGES {
            if let Some(source) = source(ending) {
                return Self::compiled(as_name, &source, compiler, flags);
            }
        }
        for (ending, interpreter) in INTERPRETERS {
            if let Some(source) = source(ending) {
                return Self::script(&source, &[*interpreter, flags].concat());
            }
        }
        bail!("no workload {name} in {}", sources.display())
    }

    /// Builds `workloads/CLASS.java`, for a virtual machine with these flags.
    pub fn java(class: &str, flags: &[&str]) -> Result<Self> {
        let source = places::workload_sources().join(format!("{class}.java"));
        let classes = places::build_folder()?.join("java");
        std::fs::create_dir_all(&classes)?;
        // -d names a folder where -o would name a file, so this is no variant; and javac is quick to see no change.
        let output =
            Command::new("javac").arg("-d").arg(&classes).arg(&source).output().context("run javac")?;
        ensure!(output.status.success(), "javac: {}", String::from_utf8_lossy(&output.stderr));
        let mut command: Vec<OsString> = vec!["java".into()];
        command.extend(flags.iter().map(OsString::from));
        command.extend(["-cp".into(), classes.into(), class.into()]);
        Ok(Self { command, args: Vec::new() })
    }

    /// A program that is there already.
    pub fn program(path: impl Into<OsString>) -> Self {
        Self { command: vec![path.into()], args: Vec::new() }
    }

    fn script(source: &Path, interpreter: &[&str]) -> Result<Self> {
        // A copy in the build folder: a namespace test hides other places, /tmp above all.
        let file = source.file_name().context("script without a name")?;
        let copy = places::build_folder()?.join(file);
        if std::fs::read(source)? != std::fs::read(&copy).unwrap_or_default() {
            let fresh = tempfile::NamedTempFile::new_in(places::build_folder()?)?;
            std::fs::copy(source, fresh.path()).with_context(|| format!("copy {}", source.display()))?;
            fresh.persist(&copy).with_context(|| format!("write {}", copy.display()))?;
        }
        let mut command: Vec<OsString> = interpreter.iter().map(OsString::from).collect();
        command.push(copy.into());
        Ok(Self { command, args: Vec::new() })
    }

    fn compiled(name: &str, source: &Path, compiler: &[&str], more_flags: &[&str]) -> Result<Self> {
        let text = std::fs::read_to_string(source).with_context(|| format!("read {}", source.display()))?;
        let flags = text.lines().next().and_then(|line| line.strip_prefix("// build:"));
        let flags = flags.with_context(|| format!("{} does not begin with `// build:`", source.display()))?;
        let mut hasher = DefaultHasher::new();
        (&text, compiler, more_flags).hash(&mut hasher);
        for header in INCLUDED {
            std::fs::read(places::workload_sources().join(header))?.hash(&mut hasher);
        }
        let folder = places::build_folder()?.join(format!("{:016x}", hasher.finish()));
        let program = folder.join(name);
        if !program.is_file() {
            std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
            let fresh = tempfile::TempDir::new_in(&folder)?;
            let made = fresh.path().join(name);
            let flags: Vec<_> = flags.split_whitespace().chain(more_flags.iter().copied()).collect();
            run_compiler(compiler, &flags, source, &made)?;
            std::fs::rename(&made, &program).with_context(|| format!("write {}", program.display()))?;
        }
        Ok(Self { command: vec![program.into()], args: Vec::new() })
    }

    /// The program's file; for a script, its interpreter.
    pub fn path(&self) -> PathBuf {
        self.command.first().map(PathBuf::from).unwrap_or_default()
    }

    /// The same with further arguments.
    pub fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// A copy of the program's file at `path`.
    pub fn copied_to(&self, path: &Path) -> Result<Self> {
        places::copy_program(&self.path(), path)?;
        Ok(Self { command: vec![path.into()], args: self.args.clone() })
    }

    /// The same program without symbols, in a file beside it.
    pub fn stripped(&self) -> Result<Self> {
        let whole = self.path();
        let name = whole.file_name().context("a program without a name")?.to_string_lossy().into_owned();
        let folder = whole.parent().context("a program without a folder")?;
        let path = folder.join(format!("{name}_stripped"));
        if !path.is_file() {
            let fresh = tempfile::TempDir::new_in(folder)?;
            let made = fresh.path().join("stripped");
            let output =
                Command::new("strip").arg("-o").arg(&made).arg(&whole).output().context("run strip")?;
            ensure!(output.status.success(), "strip: {}", String::from_utf8_lossy(&output.stderr));
            std::fs::rename(&made, &path).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(Self { command: vec![path.into()], args: self.args.clone() })
    }

    /// The same, started by another program that takes a command as its last arguments.
    pub fn under<S: Into<OsString>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        self.command.splice(0..0, wrapper.into_iter().map(Into::into));
        self
    }

    /// The command and its arguments.
    pub fn words(&self) -> Vec<OsString> {
        self.command.iter().chain(&self.args).cloned().collect()
    }

    /// Starts it and waits until it says that it is ready.
    pub fn start(&self) -> Result<RunningWorkload> {
        // Node writes a log beside its perf map, wherever it is started.
        let folder = places::build_folder()?;
        let running = Running::start(self.words(), |command| {
            command.current_dir(folder);
        })?;
        let mut introduction = Vec::new();
        loop {
            let line = running.next_line(|_| true, READY_WITHIN)?;
            if line == "ready" {
                return Ok(RunningWorkload { running, introduction });
            }
            introduction.push(line);
        }
    }
}

fn run_compiler(compiler: &[&str], flags: &[&str], source: &Path, made: &Path) -> Result<()> {
    let [program, first @ ..] = compiler else { bail!("no compiler for {}", source.display()) };
    let output = Command::new(program)
        .args(first)
        .args(flags)
        .arg("-o")
        .arg(made)
        .arg(source)
        .output()
        .with_context(|| format!("run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} cannot build {}:\n{}",
        source.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// A workload that does what it is for. Killed on drop.
pub struct RunningWorkload {
    running: Running,
    introduction: Vec<String>,
}

impl RunningWorkload {
    /// The number behind `KEY ` in a line from before it was ready, such as `thread NAME TID`.
    pub fn introduced(&self, key: &str) -> Result<u64> {
        let value = self.introduction.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        let value = value.with_context(|| format!("the workload did not say `{key}`"))?;
        value.parse().with_context(|| format!("`{key} {value}` is no number"))
    }

    /// User and system time of all its threads so far, nanoseconds.
    pub fn cpu_nanos(&self) -> Result<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        let fields: Vec<&str> =
            stat.rsplit_once(") ").context("no name in stat")?.1.split_whitespace().collect();
        let ticks = |index: usize| -> Result<u64> { Ok(fields.get(index).context("too short")?.parse()?) };
        // Fields 14 and 15 of proc(5), in ticks of 10 ms; the first here is field 3.
        Ok((ticks(11)? + ticks(12)?) * 10_000_000)
    }

    /// Waits until it has worked on for `ticks` more ticks of its own (some 50 ms of CPU time each).
    pub fn works_on(&self, ticks: usize) -> Result<()> {
        self.forget_lines();
        // One more: a tick that is on its way may be old, too.
        for _ in 0..=ticks {
            self.next_line(|line| line.starts_with("tick "), READY_WITHIN)?;
        }
        Ok(())
    }
}

impl Deref for RunningWorkload {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}
