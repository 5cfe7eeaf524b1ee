//! A profile and a plan → written outputs; one that fails keeps the others from nothing.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};

use super::beside::TemporaryFile;
use super::error::OutputError;
use super::format::EncodeError;
use super::plan::{Destination, OutputPlan, Target, folder_of};
use crate::aggregate::profile::Profile;

/// Formats write in small pieces; the kernel gets them in pieces of this size.
const BUFFER_BYTES: usize = 64 * 1024;

/// How writing one output went.
#[derive(Debug)]
pub struct OutputReport {
    /// The output.
    pub target: Target,
    /// Bytes written, or why not.
    pub result: Result<u64, OutputError>,
}

/// Writes every output of the plan, in its order.
pub fn write_all(profile: &Profile, plan: &OutputPlan) -> Vec<OutputReport> {
    let report = |target: &Target| OutputReport { target: target.clone(), result: write(profile, target) };
    plan.targets().iter().map(report).collect()
}

fn write(profile: &Profile, target: &Target) -> Result<u64, OutputError> {
    write_by(target, |out| target.format.encode(profile, out))
}

/// Writes one output with an encoder of the caller's. Gives the bytes written.
pub(in crate::deliver) fn write_by(
    target: &Target,
    encode_to: impl FnOnce(&mut dyn Write) -> Result<(), EncodeError>,
) -> Result<u64, OutputError> {
    let written = match &target.destination {
        Destination::Stdout => encode(encode_to, io::stdout().lock()),
        Destination::File(path) => {
            TemporaryFile::create_in(folder_of(path)).map_err(EncodeError::Io).and_then(|temporary| {
                let bytes = encode(encode_to, temporary.file())?;
                temporary.rename_to(path)?;
                Ok(bytes)
            })
        }
        Destination::InPlace(path) => {
            let opened = OpenOptions::new().write(true).open(path);
            opened.map_err(EncodeError::Io).and_then(|file| encode(encode_to, file))
        }
    };
    written.map_err(|error| match error {
        EncodeError::NoTimeline { format } => OutputError::NoTimeline { path: target.given.clone(), format },
        EncodeError::Io(source) => OutputError::Write { path: target.given.clone(), source },
    })
}

fn encode(
    encode_to: impl FnOnce(&mut dyn Write) -> Result<(), EncodeError>,
    out: impl Write,
) -> Result<u64, EncodeError> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, Counted { inner: out, bytes: 0 });
    encode_to(&mut out)?;
    out.flush()?;
    Ok(out.get_ref().bytes)
}

/// Counts what goes through.
struct Counted<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
