//! What a push costs on the wire: counted by the server, below TLS and HTTP.

use anyhow::{Result, ensure};
use profiler_tests::{MadePprof, Pyroscope, PyroscopeOptions, tool_or_skip};

use super::{Pusher, series, summary};

/// Pushes of a minute: twenty series, a window every 15 s.
const PUSHES: u64 = 80;

/// Bytes to the server and from it, per push, beside the profile itself.
fn overhead(peer: &Pyroscope, more: &str) -> Result<(u64, u64)> {
    let pusher = Pusher::new(peer.url()?, more)?;
    let recent = MadePprof::recent()?;
    let mut profiles = 0;
    for number in 0..i64::try_from(PUSHES)? {
        let profile = series(&MadePprof { time_nanos: recent.time_nanos - number, ..recent })?;
        profiles += u64::try_from(profile.pprof_gz.len())?;
        ensure!(summary(&pusher.push(&profile)) == "delivered");
    }
    let wire = peer.state()?.wire;
    ensure!(wire.connections == 1, "{wire:?}");
    Ok(((wire.read_bytes - profiles) / PUSHES, wire.written_bytes / PUSHES))
}

fn check(options: PyroscopeOptions, more: &str, to_server: u64, from_server: u64) -> Result<()> {
    let (sent, received) = overhead(&Pyroscope::start_with(options)?, more)?;
    ensure!(sent <= to_server, "{sent} bytes to the server beside the profile, at most {to_server}");
    ensure!(received <= from_server, "{received} bytes from the server, at most {from_server}");
    Ok(())
}

#[test]
fn a_push_is_small_and_connections_are_kept() -> Result<()> {
    tool_or_skip!("go");
    let plain = PyroscopeOptions::default();
    check(plain, "", 530, 200)
}

#[test]
fn http2_without_tls_is_the_smallest() -> Result<()> {
    tool_or_skip!("go");
    check(PyroscopeOptions::default(), "http2_prior_knowledge = true", 330, 60)
}

#[test]
fn http2_packs_the_headers() -> Result<()> {
    tool_or_skip!("go");
    let tls = PyroscopeOptions { tls: true, ..PyroscopeOptions::default() };
    check(tls, "tls.insecure_skip_verify = true", 390, 130)
}
