//! What flamekeeper costs a host with two busy CPUs: CPU time apart from BPF, memory, maps, and what its start takes.
//!
//! One pprof file is written: names are paid for, other formats are not. The first round makes unwind rows, later ones
//! find them kept.

use super::figures::{Figure, Target, by_round, megabytes, micros, number};
use super::flamekeeper::{self, Capture};
use super::load::Load;
use super::machine::Others;
use super::{Measured, Setting};
use anyhow::Result;
use std::time::Duration;

pub(super) async fn measure(setting: &Setting<'_>) -> Result<Measured> {
    let load = Load::start(setting.folder)?;
    load.is_busy().await?;
    let mut others = Others::default();
    let mut captures = Vec::new();
    for round in 0..setting.rounds {
        setting.tell(round);
        let before = others.before(load.cpu()?)?;
        let capture =
            flamekeeper::capture(setting.program, setting.folder, setting.duration, &["pb.gz"]).await?;
        load.check()?;
        others.after(before, load.cpu()?, capture.whole_cpu)?;
        captures.push(capture);
    }
    let about = format!(
        "Load on two CPUs: {}. The whole host, {} s at 99 Hz, one pprof file; median [least–most] of {} rounds.",
        load.names(),
        setting.duration.as_secs_f64(),
        setting.rounds
    );
    Ok(Measured { about: vec![about, others.told()], figures: figures(&captures, setting.duration) })
}

fn figures(captures: &[Capture], duration: Duration) -> Vec<Figure> {
    let of =
        |name: &str, decimals, of: fn(&Capture) -> f64| Figure::new(name, decimals, by_round(captures, of));
    let with_names = by_round(captures, |it| share_with_names(it.whole_cpu, it.cpu_before, duration) * 100.0);
    let complete = captures.iter().filter_map(|it| it.complete_percent).collect();
    vec![
        of("CPU before sampling begins, verifier included, s", 3, |it| it.cpu_before.as_secs_f64())
            .judged(Target::AtMost(0.3)),
        of("CPU while sampling, % of one CPU", 3, |it| it.sampling_cpu_share * 100.0),
        Figure::new("… and naming and writing, over the capture", 3, with_names).judged(Target::AtMost(0.3)),
        of("naming and writing, s of CPU", 3, |it| it.finish_cpu.as_secs_f64()),
        of("BPF programs, % of one CPU", 3, |it| it.bpf_share * 100.0),
        of("BPF programs, µs a run", 2, |it| micros(it.bpf_per_run)),
        of("peak resident, MB", 1, |it| megabytes(it.own_bytes)).judged(Target::AtMost(50.0)),
        of("… with the helper that reads debug information, MB", 1, |it| megabytes(it.family_bytes)),
        of("BPF maps, MB", 1, |it| megabytes(it.maps.all)).judged(Target::AtMost(40.0)),
        of("… of them blocks of unwind rows, MB", 1, |it| megabytes(it.maps.inner)),
        of("written, kB", 0, |it| number(it.written_bytes) / 1e3),
        Figure::new("user stacks that reach their root, %", 1, complete),
    ]
}

/// Of one CPU: all but the start, which is a figure of its own, spread over the time that was sampled.
fn share_with_names(whole: Duration, before: Duration, duration: Duration) -> f64 {
    whole.saturating_sub(before).as_secs_f64() / duration.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_not_spread_over_the_capture() {
        let millis = Duration::from_millis;
        assert_eq!(share_with_names(millis(260), millis(200), millis(60_000)), 0.001);
    }
}
