//! Lines that the kernel half writes when it is asked to → debug events of `tracing`. What they tell is counted as well; a
//! line says of which process.

use aya::Ebpf;
use aya_log::EbpfLogger;

use super::SampleError;

/// Level::Debug of aya-log-common.
const DEBUG: u8 = 4;
const OFF: u8 = 0;
/// Of lines, by aya-log's name.
pub(super) const RING: &str = "AYA_LOGS";
/// The ring of a kernel half that writes nothing: as small as the kernel makes one.
const NO_RING_BYTES: u32 = 4096;

/// The kernel half's own log.
pub struct KernelLog(EbpfLogger<ToTracing>);

/// What the loader is to set: the level, and the ring's size if it is not the object's own.
pub(super) fn settings(is_on: bool) -> (&'static u8, Option<u32>) {
    if is_on { (&DEBUG, None) } else { (&OFF, Some(NO_RING_BYTES)) }
}

impl KernelLog {
    /// Of a kernel half that was loaded to write lines.
    pub(super) fn of(ebpf: &mut Ebpf) -> Result<Self, SampleError> {
        let logger = EbpfLogger::init_with_logger(ebpf, ToTracing);
        logger.map(Self).map_err(|_| SampleError::Missing { name: RING })
    }

    /// Takes the lines that are there.
    pub fn take(&mut self) {
        self.0.flush();
    }
}

struct ToTracing;

impl log::Log for ToTracing {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true // or the kernel half would not write it
    }

    fn log(&self, line: &log::Record<'_>) {
        tracing::debug!(kernel = %line.args(), "the kernel half");
    }

    fn flush(&self) {}
}
