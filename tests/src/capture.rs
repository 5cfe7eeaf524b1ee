//! Runs the `flamekeeper` binary: from arguments to its status, its words and the files it wrote.
//!
//! Each run has a folder of its own as working directory, for temporary files and for outputs; it vanishes
//! with the result. Fails by itself, whatever a test looks at, when there is a panic on stderr.

use std::ffi::{OsStr, OsString};
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::child::Running;
use crate::{FirefoxProfile, Machine, Pprof, Stacks, Workload, places};

/// Nothing that is tested takes as long.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// A run of `flamekeeper` that is being put together.
pub struct Capture {
    wrapper: Vec<OsString>,
    program: PathBuf,
    args: Vec<OsString>,
    command: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    folder: TempDir,
}

impl Capture {
    /// `flamekeeper` with these arguments, for what ends before it touches the kernel.
    pub fn plain<S: Into<OsString>>(args: impl IntoIterator<Item = S>) -> Result<Self> {
        let folder =
            tempfile::Builder::new().prefix("flamekeeper-test-").tempdir().context("make a folder")?;
        std::fs::create_dir(folder.path().join("temporary")).context("make a folder for temporary files")?;
        Ok(Self {
            wrapper: Vec::new(),
            program: places::flamekeeper()?,
            args: args.into_iter().map(Into::into).collect(),
            command: Vec::new(),
            environment: Vec::new(),
            folder,
        })
    }

    /// `flamekeeper record` on a machine that this test has for itself.
    pub fn record(_machine: &Machine) -> Result<Self> {
        Self::plain(["record"])
    }

    /// The same with further arguments.
    pub fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// The same of a daemon with its spool in this run's folder.
    pub fn with_spool(self) -> Self {
        let spool = self.folder().join("spool");
        self.args(["--spool-dir".into(), spool.into_os_string()])
    }

    /// The same with `-p PID`.
    pub fn of(self, pid: u32) -> Self {
        self.args(["-p".to_owned(), pid.to_string()])
    }

    /// The same with `-o`; a plain name lies in this run's own folder.
    pub fn output(self, name: impl AsRef<Path>) -> Self {
        let path = self.folder.path().join(name);
        self.args([OsString::from("-o"), path.into()])
    }

    /// The same with a command to profile.
    pub fn command(mut self, workload: &Workload) -> Self {
        self.command = workload.words();
        self
    }

    /// The same with a variable in its environment, which else has none that begins with `FLAMEKEEPER_`
    /// but for the folder of cached rows, which is this run's own.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// The same, started by another program that executes its last arguments in place.
    pub fn under<S: Into<OsString>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        self.wrapper.extend(wrapper.into_iter().map(Into::into));
        self
    }

    /// The same after a shell command, in mounts of its own: what the command mounts vanishes with the run.
    pub fn after_mounting(self, shell_command: &str) -> Self {
        let script = format!("set -e; {shell_command}; exec \"$@\"");
        self.under(["unshare", "--mount", "--propagation", "private", "sh", "-c"])
            .under([script, "sh".to_owned()])
    }

    /// The same without these capabilities, named as setpriv names them (`sys_admin`).
    pub fn without_capabilities(self, names: &[&str]) -> Self {
        let dropped = names.iter().map(|name| format!("-{name}")).collect::<Vec<_>>().join(",");
        self.under(["setpriv".to_owned(), format!("--bounding-set={dropped}")])
    }

    /// The same as user nobody, from a copy of the binary that everybody can reach.
    pub fn as_nobody(mut self) -> Result<Self> {
        let copy = self.folder.path().join("flamekeeper");
        places::copy_program(&self.program, &copy)?;
        for (path, mode) in [(self.folder.path(), 0o777), (&copy, 0o755)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
                .context("open the folder")?;
        }
        self.program = copy;
        Ok(self.under(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]))
    }

    /// Folder of this run: working directory and place of plain outputs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it.
    pub fn start(self) -> Result<RunningCapture> {
        let Self { wrapper, program, mut args, command, environment, folder } = self;
        if !command.is_empty() {
            args.push("--".into());
            args.extend(command);
        }
        let words = wrapper.into_iter().chain([program.into()]).chain(args);
        let running = Running::start(words, |command| {
            for (name, _) in std::env::vars_os() {
                if name.to_string_lossy().starts_with("FLAMEKEEPER_") {
                    command.env_remove(name);
                }
            }
            command.env("FLAMEKEEPER_CACHE_DIR", folder.path().join("cache"));
            command.envs(environment);
            command.current_dir(folder.path()).env("TMPDIR", folder.path().join("temporary"));
        })?;
        Ok(RunningCapture { running, folder })
    }

    /// Starts it and waits for its end.
    pub fn run(self) -> Result<Captured> {
        self.start()?.finish()
    }
}

/// A run that goes on. Killed on drop.
pub struct RunningCapture {
    running: Running,
    folder: TempDir,
}

impl RunningCapture {
    /// What it has written so far.
    pub fn said(&self) -> String {
        self.running.output_so_far()
    }

    /// Waits until it samples, which it says on stderr when everything is attached.
    pub fn samples(&self) -> Result<()> {
        self.running.stderr_line(|line| line.starts_with("sampling "), ENDS_WITHIN).map(drop)
    }

    /// Waits for its end.
    pub fn finish(self) -> Result<Captured> {
        let Self { running, folder } = self;
        let pid = running.pid();
        let (status, stdout, stderr) = running.finish(ENDS_WITHIN)?;
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        for panic in ["panicked at", "RUST_BACKTRACE", "this is a bug in flamekeeper"] {
            ensure!(!stderr.contains(panic), "a panic was seen:\n{stderr}");
        }
        // None of this is a terminal, so nothing is redrawn or coloured.
        ensure!(!stderr.contains(['\x1b', '\r']), "control characters on stderr: {stderr:?}");
        Ok(Captured { code: status.code(), signal: status.signal(), stdout, stderr, pid, folder })
    }
}

impl Deref for RunningCapture {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

/// A run that has ended, with everything it left.
pub struct Captured {
    /// Exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it, and the command it ran, wrote to stdout.
    pub stdout: Vec<u8>,
    /// What it, and the command it ran, wrote to stderr.
    pub stderr: String,
    /// Its process id.
    pub pid: u32,
    folder: TempDir,
}

impl Captured {
    /// Fails with its words unless it ended with this exit code.
    pub fn expect_code(self, code: i32) -> Result<Self> {
        ensure!(
            self.code == Some(code),
            "exit code {code} was expected, not {:?} (signal {:?}); stderr:\n{}",
            self.code,
            self.signal,
            self.stderr
        );
        Ok(self)
    }

    /// Fails unless stderr has all of these words, in any case.
    pub fn expect_words(self, words: &[&str]) -> Result<Self> {
        let said = self.stderr.to_lowercase();
        for word in words {
            ensure!(said.contains(&word.to_lowercase()), "{word:?} is not in stderr:\n{}", self.stderr);
        }
        Ok(self)
    }

    /// Lines of stderr that have this word, in any case.
    pub fn lines_with(&self, word: &str) -> Vec<&str> {
        let word = word.to_lowercase();
        self.stderr.lines().filter(|line| line.to_lowercase().contains(&word)).collect()
    }

    /// stdout as text.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The number behind `KEY=` at the beginning of the last such line of stdout: children speak before their parent.
    pub fn printed(&self, key: &str) -> Result<u64> {
        let text = self.stdout_text();
        let value = text.lines().rev().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let value = value.with_context(|| format!("no {key}= on stdout:\n{text}"))?;
        value.parse().with_context(|| format!("{key}={value} is no number"))
    }

    /// Path of an output.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Names of the files in the run's folder.
    pub fn files(&self) -> Result<Vec<String>> {
        let entries = std::fs::read_dir(self.folder.path()).context("list the folder")?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Names of what is left in the folder that it was given for temporary files.
    pub fn temporary_files(&self) -> Result<Vec<OsString>> {
        let entries = std::fs::read_dir(self.path("temporary")).context("list temporary files")?;
        Ok(entries.collect::<Result<Vec<_>, _>>()?.iter().map(std::fs::DirEntry::file_name).collect())
    }

    /// An output's bytes; without the output, the error has what the run said.
    pub fn read(&self, name: impl AsRef<OsStr>) -> Result<Vec<u8>> {
        let path = self.folder.path().join(name.as_ref());
        std::fs::read(&path).with_context(|| format!("read {}; stderr:\n{}", path.display(), self.stderr))
    }

    /// An output's text.
    pub fn text(&self, name: &str) -> Result<String> {
        String::from_utf8(self.read(name)?).with_context(|| format!("{name} is not UTF-8"))
    }

    /// An output, read as folded stacks.
    pub fn folded(&self, name: &str) -> Result<Stacks> {
        Stacks::from_folded(&self.text(name)?)
    }

    /// An output, read as pprof.
    pub fn pprof(&self, name: &str) -> Result<Pprof> {
        Pprof::from_gzip(&self.read(name)?).with_context(|| format!("{name} is no pprof file"))
    }

    /// An output, read as the Firefox Profiler's JSON.
    pub fn firefox(&self, name: &str) -> Result<FirefoxProfile> {
        FirefoxProfile::from_json(&self.read(name)?)
            .with_context(|| format!("{name} is no processed profile"))
    }
}
