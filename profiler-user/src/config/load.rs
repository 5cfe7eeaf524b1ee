//! Reads the file and puts the layers together.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::check::check;
use super::document::{Table, parse_document};
use super::key::VARIABLE_PREFIX;
use super::place::{Place, Source};
use super::problem::{At, ConfigErrors, Problem, Report, Wrong};
use super::reader::{Layers, Places, Reader};
use super::variables::report_unread;
use super::{DaemonConfig, all_keys};
use crate::host::Host;

/// Nobody writes a larger one by hand, and what is larger is another file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A configuration and where it comes from.
#[derive(Debug)]
pub struct Loaded {
    /// What is told, in types.
    pub config: DaemonConfig,
    /// What works and is worth a word.
    pub warnings: Vec<Problem>,
    /// Where each value was written, by its path.
    pub(super) places: Places,
    /// Of the file that it was read from.
    pub(super) fingerprint: Fingerprint,
}

/// A hash of the file's bytes, or of why it cannot be read.
pub(super) type Fingerprint = u64;

/// Knows the layers, and reads the file over and over.
#[derive(Clone, Debug)]
pub struct Loader {
    file: Option<PathBuf>,
    layers: Layers,
    not_utf8: Vec<String>,
    host: Host,
}

impl Loader {
    /// `options` by a key's path; of the variables those that are ours; the kernel's limits are read from the host.
    pub fn new(
        file: Option<PathBuf>,
        options: BTreeMap<String, Vec<String>>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        host: Host,
    ) -> Self {
        let mut layers = Layers { options, variables: BTreeMap::new() };
        let mut not_utf8 = Vec::new();
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(VARIABLE_PREFIX)) else { continue };
            match value.into_string() {
                Ok(value) => drop(layers.variables.insert(name.to_owned(), value)),
                Err(_) => not_utf8.push(name.to_owned()),
            }
        }
        Self { file, layers, not_utf8, host }
    }

    /// The file, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reads the file, and what it names, and checks everything.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its place.
    pub fn load(&self) -> Result<Loaded, ConfigErrors> {
        self.load_bytes(self.read())
    }

    /// The file's bytes, if there is a file.
    pub(super) fn read(&self) -> Option<Result<Vec<u8>, Wrong>> {
        self.file.as_deref().map(read_file)
    }

    /// What tells two states of the file apart.
    pub(super) fn fingerprint(file: &Result<Vec<u8>, Wrong>) -> Fingerprint {
        let mut hasher = DefaultHasher::new();
        match file {
            Ok(bytes) => (true, bytes).hash(&mut hasher),
            Err(wrong) => (false, wrong.to_string()).hash(&mut hasher),
        }
        hasher.finish()
    }

    /// As [`Self::load`], of a file that was read already.
    pub(super) fn load_bytes(&self, file: Option<Result<Vec<u8>, Wrong>>) -> Result<Loaded, ConfigErrors> {
        let mut report = Report::default();
        let fingerprint = file.as_ref().map_or(0, Self::fingerprint);
        let source = self.source(file, &mut report);
        let document = source.as_ref().and_then(|source| parse_document(source, &mut report));
        let table = document.as_ref().zip(source.as_ref()).map(|(document, source)| Table {
            key: String::new(),
            source,
            place: source.place(&(0..0)),
            entries: document.get_ref(),
        });
        if let Some(table) = &table {
            table.report_unknown(&all_keys(), &mut report);
        }
        self.report_variables(&mut report);
        let mut places = Places::new();
        let mut reader = Reader {
            layers: Some(&self.layers),
            name: "",
            key: String::new(),
            table,
            report: &mut report,
            places: &mut places,
        };
        let config = DaemonConfig::read(&mut reader);
        let is_file_lost = self.file.is_some() && document.is_none();
        if is_file_lost {
            // What only seems to be missing may be in the file.
            report.errors.retain(|problem| problem.place != Place::Default);
        } else if let Some(config) = &config {
            check(config, &places, &self.host, &mut report);
        }
        report.sort();
        match config {
            Some(config) if report.errors.is_empty() => {
                Ok(Loaded { config, warnings: report.warnings, places, fingerprint })
            }
            _ => Err(ConfigErrors(report.errors)),
        }
    }

    fn source(&self, file: Option<Result<Vec<u8>, Wrong>>, report: &mut Report) -> Option<Source> {
        let path = self.file.as_deref()?;
        let text = file?.and_then(|bytes| String::from_utf8(bytes).map_err(|_| Wrong::NotUtf8));
        let at = || At { key: String::new(), place: Place::WholeFile(path.to_owned()) };
        let text = text.map_err(|wrong| report.error(at(), wrong)).ok()?;
        Some(Source::file(path, text))
    }

    /// Only a warning for those that nobody reads: they are not ours to forbid.
    fn report_variables(&self, report: &mut Report) {
        for name in &self.not_utf8 {
            let at = At { key: String::new(), place: Place::Variable(name.clone()) };
            report.error(at, Wrong::NotUtf8);
        }
        report_unread(self.layers.variables.keys().map(String::as_str), report);
    }
}

/// A file of reasonable size.
fn read_file(path: &Path) -> Result<Vec<u8>, Wrong> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Wrong::Unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(Wrong::Unreadable)?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= FILE_BYTES_MAX => Ok(bytes),
        _ => Err(Wrong::TooLarge { max_bytes: FILE_BYTES_MAX }),
    }
}
