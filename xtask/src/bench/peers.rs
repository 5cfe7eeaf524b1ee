//! The same load recorded by flamekeeper, with all five outputs, and by `perf record` and `perf script`, in turn.

use super::figures::{Figure, Target, by_round, megabytes, number};
use super::flamekeeper::{self, ALL_FORMATS};
use super::load::Load;
use super::machine::Others;
use super::perf::{self, CallGraph, Scripts};
use super::{Measured, Setting};
use anyhow::{Context, Result};
use std::time::Duration;

/// By round.
#[derive(Default)]
struct Rounds {
    flamekeeper: Vec<flamekeeper::Capture>,
    perf: Vec<(perf::Capture, Scripts)>,
    dwarf: Vec<perf::Capture>,
}

pub(super) async fn measure(setting: &Setting<'_>) -> Result<Measured> {
    let load = Load::start(setting.folder)?;
    load.is_busy().await?;
    let mut rounds = Rounds::default();
    let mut others = Others::default();
    for round in 0..setting.rounds {
        setting.tell(round);
        // Whoever is first meets colder caches.
        let order = if round % 2 == 0 { [0, 1, 2] } else { [2, 1, 0] };
        for whose in order {
            let before = others.before(load.cpu()?)?;
            let own_cpu = rounds.capture(whose, setting).await?;
            load.check()?;
            others.after(before, load.cpu()?, own_cpu)?;
        }
    }
    let about = format!(
        "Load on two CPUs: {}. Each profiler in turn, {} s at 99 Hz, median [least–most] of {} rounds.",
        load.names(),
        setting.duration.as_secs_f64(),
        setting.rounds
    );
    Ok(Measured { about: vec![about, others.told()], figures: rounds.figures() })
}

impl Rounds {
    /// One capture; what CPU time it took.
    async fn capture(&mut self, whose: usize, setting: &Setting<'_>) -> Result<Duration> {
        let (folder, duration) = (setting.folder, setting.duration);
        Ok(match whose {
            0 => {
                let capture = flamekeeper::capture(setting.program, folder, duration, ALL_FORMATS).await?;
                let cpu = capture.whole_cpu;
                capture.timed.as_ref().context("flamekeeper wrote no times")?;
                self.flamekeeper.push(capture);
                cpu
            }
            1 => {
                let (capture, scripts) = perf::capture_and_script(folder, duration).await?;
                let cpu = capture.whole_cpu + scripts.cpu();
                self.perf.push((capture, scripts));
                cpu
            }
            _ => {
                let capture = perf::capture(folder, duration, CallGraph::Dwarf).await?;
                let cpu = capture.whole_cpu;
                self.dwarf.push(capture);
                cpu
            }
        })
    }

    /// In the order of a capture's life.
    fn figures(&self) -> Vec<Figure> {
        let mut figures = self.sampling();
        figures.extend(self.finishing());
        figures.extend(self.whole());
        figures
    }

    fn sampling(&self) -> Vec<Figure> {
        let share = "CPU while sampling, % of one CPU";
        let ours = || self.ours(|it| it.sampling_cpu_share * 100.0);
        vec![
            Figure::new("start to first sample, s", 3, self.timed(|it| it.to_first_sample.as_secs_f64()))
                .judged(Target::AtMost(0.5)),
            Figure::new(share, 3, ours())
                .beside(self.theirs(|it| it.sampling_cpu_share * 100.0))
                .judged(Target::AtMost(0.2)),
            Figure::new("… beside perf record --call-graph dwarf", 3, ours())
                .beside(self.with_dwarf(|it| it.sampling_cpu_share * 100.0)),
        ]
    }

    fn finishing(&self) -> Vec<Figure> {
        let finish = || self.timed(|it| it.finish.as_secs_f64());
        let finish_cpu = || self.ours(|it| it.finish_cpu.as_secs_f64());
        let full = |of: fn(&perf::Script) -> f64| by_round(&self.perf, |(_, it)| of(&it.full));
        let no_inline = |of: fn(&perf::Script) -> f64| by_round(&self.perf, |(_, it)| of(&it.no_inline));
        vec![
            Figure::new("end of sampling to exit, s", 2, finish()).judged(Target::AtMost(2.0)),
            Figure::new("… beside perf script", 2, finish())
                .beside(full(|it| it.wall_seconds))
                .judged(Target::AtMostPerf),
            Figure::new("… beside perf script --no-inline", 2, finish())
                .beside(no_inline(|it| it.wall_seconds))
                .judged(Target::AtMostPerf),
            Figure::new("its CPU time, beside perf script, s", 2, finish_cpu())
                .beside(full(|it| it.cpu_seconds)),
            Figure::new("… beside perf script --no-inline, s", 2, finish_cpu())
                .beside(no_inline(|it| it.cpu_seconds)),
        ]
    }

    fn whole(&self) -> Vec<Figure> {
        let cpu = || self.ours(|it| it.whole_cpu.as_secs_f64());
        let peak = || self.ours(|it| megabytes(it.family_bytes));
        let written = || self.ours(|it| megabytes(it.written_bytes));
        let samples = || self.timed(|it| number(it.samples));
        let script_bytes = by_round(&self.perf, |(_, it)| megabytes(it.no_inline.resident_bytes));
        vec![
            Figure::new("CPU time of all of record, s", 2, cpu())
                .beside(self.theirs(|it| it.whole_cpu.as_secs_f64())),
            Figure::new("… beside perf record --call-graph dwarf, s", 2, cpu())
                .beside(self.with_dwarf(|it| it.whole_cpu.as_secs_f64())),
            Figure::new("peak resident with children, MB", 1, peak())
                .beside(self.theirs(|it| megabytes(it.resident_bytes)))
                .judged(Target::AtMost(60.0)),
            Figure::new("… beside perf record --call-graph dwarf, MB", 1, peak())
                .beside(self.with_dwarf(|it| megabytes(it.resident_bytes))),
            Figure::new("… of itself alone; of perf script, MB", 1, self.ours(|it| megabytes(it.own_bytes)))
                .beside(script_bytes),
            Figure::new("samples", 0, samples()).beside(self.theirs(|it| number(it.samples))),
            Figure::new("… beside perf record --call-graph dwarf", 0, samples())
                .beside(self.with_dwarf(|it| number(it.samples))),
            Figure::new("written (five outputs; perf.data), MB", 1, written())
                .beside(self.theirs(|it| megabytes(it.written_bytes))),
            Figure::new("… beside perf record --call-graph dwarf, MB", 1, written())
                .beside(self.with_dwarf(|it| megabytes(it.written_bytes))),
        ]
    }

    fn ours(&self, of: impl Fn(&flamekeeper::Capture) -> f64) -> Vec<f64> {
        by_round(&self.flamekeeper, of)
    }

    fn timed(&self, of: impl Fn(&flamekeeper::Timed) -> f64) -> Vec<f64> {
        self.flamekeeper.iter().filter_map(|it| it.timed.as_ref()).map(of).collect()
    }

    fn theirs(&self, of: impl Fn(&perf::Capture) -> f64) -> Vec<f64> {
        by_round(&self.perf, |(capture, _)| of(capture))
    }

    fn with_dwarf(&self, of: impl Fn(&perf::Capture) -> f64) -> Vec<f64> {
        by_round(&self.dwarf, of)
    }
}
