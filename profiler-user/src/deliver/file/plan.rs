//! `-o` and `--format` → where each output goes and as what, tried out before sampling.
//!
//! Nobody should wait for a capture to learn that its file cannot be written. So a file is really made
//! in the output's folder, one block is really written, and the file is removed: that finds permissions,
//! read-only file systems, full ones and quotas alike, also as root, whom permission bits do not stop.
//! Whatever is at the output's place stays untouched.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::beside::TemporaryFile;
use super::error::{BadOutputs, OutputError};
use super::format::Format;

/// What is written to find out whether there is room: one block of the usual file systems.
const TRIAL_BYTES: usize = 4096;

/// How the bytes of an output get to their place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// A file at this path: written under another name beside it, then renamed, so that it is whole or not there.
    File(PathBuf),
    /// What is at this path is no regular file (a device, a pipe): written as it is.
    InPlace(PathBuf),
}

/// One output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As the user wrote it, for messages.
    pub given: PathBuf,
    /// What is written.
    pub format: Format,
    /// Where to.
    pub destination: Destination,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.destination {
            Destination::Stdout => f.write_str("standard output"),
            Destination::File(_) | Destination::InPlace(_) => write!(f, "{}", self.given.display()),
        }
    }
}

/// All outputs of a capture, each of which could be written when this was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputPlan {
    targets: Vec<Target>,
}

impl OutputPlan {
    /// Checks every output. `format` overrides the endings; `-` is standard output, as pprof unless
    /// `format` says otherwise. Reports all that are bad at once.
    pub fn new(
        outputs: &[PathBuf],
        format: Option<Format>,
        stdout_is_terminal: bool,
    ) -> Result<Self, BadOutputs> {
        let mut targets = Vec::with_capacity(outputs.len());
        let mut errors = Vec::new();
        let mut taken = HashSet::new();
        for given in outputs {
            match target(given, format, stdout_is_terminal) {
                Ok(target) if !taken.insert(target.destination.clone()) => {
                    errors.push(OutputError::Duplicate { path: given.clone() });
                }
                Ok(target) => targets.push(target),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Self { targets }) } else { Err(BadOutputs(errors)) }
    }

    /// The outputs in the order they were asked for.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Whether the profile has to keep single samples with their times.
    pub fn needs_timeline(&self) -> bool {
        self.targets.iter().any(|target| target.format.needs_timeline())
    }

    /// Whether standard output is taken by a profile, so that nothing else may go there.
    pub fn uses_stdout(&self) -> bool {
        self.targets.iter().any(|target| target.destination == Destination::Stdout)
    }
}

fn is_stdout(path: &Path) -> bool {
    // Opening /dev/stdout anew would write from the beginning of a file that the shell appends to.
    path == Path::new("-") || path == Path::new("/dev/stdout")
}

fn target(given: &Path, format: Option<Format>, stdout_is_terminal: bool) -> Result<Target, OutputError> {
    let found = format.or_else(|| Format::of_path(given));
    if is_stdout(given) {
        let format = found.unwrap_or(Format::Pprof);
        if stdout_is_terminal && format.is_binary() {
            return Err(OutputError::Terminal { format });
        }
        return Ok(Target { given: given.to_owned(), format, destination: Destination::Stdout });
    }
    let destination = destination(given)?;
    let format = found.ok_or_else(|| OutputError::UnknownEnding { path: given.to_owned() })?;
    if let Destination::File(path) = &destination {
        try_folder(given, folder_of(path))?;
    }
    Ok(Target { given: given.to_owned(), format, destination })
}

/// Where an output really is: links followed, so that a link stays one and duplicates are seen.
fn destination(given: &Path) -> Result<Destination, OutputError> {
    let open = |source| OutputError::Open { path: given.to_owned(), source };
    let is_folder = || OutputError::IsFolder { path: given.to_owned() };
    match fs::metadata(given) {
        Ok(there) if there.is_dir() => Err(is_folder()),
        Ok(there) if there.is_file() => Ok(Destination::File(fs::canonicalize(given).map_err(open)?)),
        Ok(_) => Ok(Destination::InPlace(given.to_owned())),
        // Not there yet, or out of reach: then the trial in its folder says why.
        Err(_) => {
            let name = given.file_name().ok_or_else(is_folder)?;
            let folder = folder_of(given);
            let real = fs::canonicalize(folder).map_err(|source| OutputError::Folder {
                path: given.to_owned(),
                folder: folder.to_owned(),
                source,
            })?;
            Ok(Destination::File(real.join(name)))
        }
    }
}

/// The folder that a file is in; the current one for a bare name.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn try_folder(given: &Path, folder: &Path) -> Result<(), OutputError> {
    let (path, folder_name) = (given.to_owned(), folder.to_owned());
    let trial = || TemporaryFile::create_in(folder)?.file().write_all(&[0; TRIAL_BYTES]);
    trial().map_err(|source| match source.kind() {
        io::ErrorKind::NotADirectory => OutputError::Folder { path, folder: folder_name, source },
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            OutputError::Full { path, folder: folder_name, source }
        }
        _ => OutputError::NotWritable { path, folder: folder_name, source },
    })
}
