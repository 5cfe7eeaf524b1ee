//! What the kernel half says itself, at debug level.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use profiler_common::abi::{ABI_VERSION, SamplerConfig};
use profiler_common::outcome::Outcome;
use profiler_tests::machine_or_skip;
use profiler_user::host::Host;
use profiler_user::sample::abilities::{Abilities, Ability};
use profiler_user::sample::{Hertz, LoadOptions, Loaded, Sampler, TickSource};
use profiler_user::telemetry::logs::{self, LogFormat, LogOptions};

/// One page: full after some dozens of samples.
const RING_BYTES: u32 = 4096;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Has a ring that nobody reads run over; gives what was logged.
fn lines_of(writes_lines: bool) -> Result<String> {
    let host = Host::new();
    let written = Written::default();
    let options = LogOptions { level: tracing::Level::DEBUG, format: LogFormat::Logfmt, is_journal: false };
    let (dispatch, log) = logs::start(options, host.clock, written.clone(), || {})?;
    let config =
        SamplerConfig { abi_version: ABI_VERSION, wakeup_bytes: RING_BYTES, ..SamplerConfig::default() };
    let choice = Abilities::of(Ability::ALL).choice();
    let options = LoadOptions { ring_bytes: RING_BYTES, writes_lines, choice };
    let Loaded { sampler, mut ticks, log: kernel_log, ring: _ring, .. } =
        Sampler::load(&config, options, &host.proc)?;
    ticks.attach(TickSource::CpuClock, Hertz::new(999).context("a rate")?)?;
    // Works, so that there is somebody to sample.
    while sampler.counter(Outcome::SampleRingFull)? == 0 {
        std::hint::spin_loop();
    }
    drop(ticks);
    ensure!(kernel_log.is_some() == writes_lines);
    tracing::dispatcher::with_default(&dispatch, || kernel_log.into_iter().for_each(|mut log| log.take()));
    drop(log);
    let bytes = written.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(String::from_utf8(bytes)?)
}

#[test]
fn the_kernel_half_tells_of_its_losses_if_it_is_asked() -> Result<()> {
    let _machine = machine_or_skip!();
    let asked = lines_of(true)?;
    let line = asked.lines().find(|line| line.contains(Outcome::SampleRingFull.words()));
    let line = line.with_context(|| asked.clone())?;
    ensure!(line.contains("level=debug") && line.contains("kernel=\"process "), "{line}");
    let not_asked = lines_of(false)?;
    ensure!(not_asked.is_empty(), "{not_asked}");
    Ok(())
}
