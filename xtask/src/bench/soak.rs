//! Whether the daemon grows: `--part soak`, 20 minutes after 30 of warming up unless told otherwise.
//!
//! The load of two busy CPUs, and beside it everything that comes and goes on a host (`churn.rs`); the database fails for 20 s
//! of every two minutes, by answers and by refused connections in turn. The daemon is looked at every 5 s from outside,
//! which costs it nothing.
//!
//! An outage comes and goes, and with it threads and files: a slope is that of the means of each time between the beginnings of two.
//!
//! What counts as no growth: 600 kB an hour (10 kB a minute), and 6 files or threads an hour. See `slope.rs` for the rule.

use super::churn::Churn;
use super::clock;
use super::cost::{Cost, Mark};
use super::cost_figures::{Aims, cpu, sampled};
use super::daemon::{Daemon, Size, WINDOW};
use super::database::Database;
use super::figures::{Figure, Target, number};
use super::load::Load;
use super::metrics::Metrics;
use super::slope::Slope;
use super::{Measured, Setting};
use anyhow::Result;
use std::time::Duration;

/// 30 minutes: what ended is forgotten after ten, and only then does as much go as comes; names of what keeps running are learnt
/// within a budget of time, which takes as long again.
pub(super) const WARM_UP_WINDOWS: u32 = 120;
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// In looks.
const CHURN_EVERY: u32 = 3;
const OUTAGE_EVERY: u32 = 24;
const OUTAGE: u32 = 4;
/// What was received is thrown away: it is counted, and its memory is not what is measured.
const FORGET_EVERY: u32 = 12;

const KILOBYTES_AN_HOUR_MAX: f64 = 600.0;
const COUNT_AN_HOUR_MAX: f64 = 6.0;

/// Something that must not grow.
struct Quantity {
    name: &'static str,
    unit: &'static str,
    an_hour_max: f64,
    of: fn(&Size) -> f64,
}

const fn kilobytes(name: &'static str, of: fn(&Size) -> f64) -> Quantity {
    Quantity { name, unit: "kB", an_hour_max: KILOBYTES_AN_HOUR_MAX, of }
}

const fn count(name: &'static str, of: fn(&Size) -> f64) -> Quantity {
    Quantity { name, unit: "in all", an_hour_max: COUNT_AN_HOUR_MAX, of }
}

const QUANTITIES: [Quantity; 6] = [
    kilobytes("resident", |size| number(size.resident_bytes) / 1e3),
    kilobytes("BPF maps", |size| number(size.maps.all) / 1e3),
    kilobytes("blocks of unwind rows", |size| number(size.maps.inner) / 1e3),
    kilobytes("spool", |size| number(size.spool_bytes) / 1e3),
    count("files", |size| number(size.files)),
    count("threads", |size| number(size.threads)),
];

/// What was seen, and when.
type Looks = Vec<(Duration, Size)>;

pub(super) async fn measure(setting: &Setting<'_>) -> Result<Measured> {
    let load = Load::start(setting.folder)?;
    load.is_busy().await?;
    let database = Database::start(setting.database, setting.folder).await?;
    let daemon = Daemon::start(setting.program, setting.folder, database.url()).await?;
    let mut churn = Churn::start(setting.folder)?;
    // Things come and go as they do later; the looks count nothing.
    look(WINDOW * setting.warm_up_windows, &daemon, &database, &mut churn).await?;
    let before = Mark::now(&daemon, &database).await?;
    let looks = look(setting.duration, &daemon, &database, &mut churn).await?;
    load.check()?;
    let after = Mark::now(&daemon, &database).await?;
    let faulty = after.got.faulty - before.got.faulty;
    let caches = told_by_cache(&before.metrics, &after.metrics);
    let cost = [Cost::between(before, after, daemon.size()?, 0)?];
    let mut about = vec![
        format!("Load on two CPUs: {}. {}.", load.names(), churn.told()),
        format!(
            "{} looks in {} s; the database failed {faulty} requests by its answers, and refused connections in every other outage.",
            looks.len(),
            setting.duration.as_secs()
        ),
    ];
    about.extend(QUANTITIES.iter().map(|quantity| quantity.told(&looks)));
    about.push(caches);
    daemon.stop().await?;
    let mut figures: Vec<Figure> = QUANTITIES.iter().flat_map(|quantity| quantity.figures(&looks)).collect();
    figures.extend(cpu(&cost, Aims::NONE));
    figures.extend(sampled(&cost));
    Ok(Measured { about, figures })
}

/// One line: what of the memory the daemon says is kept on purpose.
fn told_by_cache(before: &Metrics, after: &Metrics) -> String {
    let (before, after) = (before.by("cache_bytes", "cache"), after.by("cache_bytes", "cache"));
    let change = |(cache, bytes): (&String, &f64)| {
        let was = before.get(cache).copied().unwrap_or(0.0);
        format!("{cache} {:.0} → {:.0} kB", was / 1e3, bytes / 1e3)
    };
    format!("caches: {}.", after.iter().map(change).collect::<Vec<_>>().join(", "))
}

/// Looks at the daemon for so long, while things come and go.
async fn look(duration: Duration, daemon: &Daemon, database: &Database, churn: &mut Churn) -> Result<Looks> {
    let started = clock::now();
    let mut looks = Vec::new();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    for turn in 1u32.. {
        ticks.tick().await;
        daemon.check()?;
        let at = started.elapsed();
        looks.push((at, daemon.size()?));
        if at >= duration {
            break;
        }
        if turn.is_multiple_of(CHURN_EVERY) {
            churn.turn()?;
        }
        if turn.is_multiple_of(FORGET_EVERY) {
            database.forget().await?;
        }
        fail(database, turn).await?;
    }
    Ok(looks)
}

/// Every other outage is one of the network.
async fn fail(database: &Database, turn: u32) -> Result<()> {
    let is_of_network = (turn / OUTAGE_EVERY).is_multiple_of(2);
    match (turn % OUTAGE_EVERY, is_of_network) {
        // The first turns are none.
        (0, true) => database.shut().await,
        (0, false) => database.fail().await,
        (OUTAGE, true) => database.open().await,
        (OUTAGE, false) => database.heal().await,
        _ => Ok(()),
    }
}

impl Quantity {
    fn values(&self, looks: &Looks) -> Vec<(Duration, f64)> {
        looks.iter().map(|(at, size)| (*at, (self.of)(size))).collect()
    }

    /// Of what is left when outages are averaged out; the last, shorter time is left out.
    fn slope(&self, looks: &Looks) -> Option<Slope> {
        let values = self.values(looks);
        let means: Vec<(Duration, f64)> = values.chunks_exact(OUTAGE_EVERY as usize).map(mean).collect();
        Slope::of(&means)
    }

    /// One line: from where to where, how fast in the end, and what that means.
    fn told(&self, looks: &Looks) -> String {
        let Self { name, unit, an_hour_max, .. } = self;
        let values = self.values(looks);
        let ends = values.first().zip(values.last()).map_or((0.0, 0.0), |(first, last)| (first.1, last.1));
        let (first, last) = ends;
        let from_to = format!("{name}: {first:.0} → {last:.0} {unit}");
        let Some(slope) = self.slope(looks) else {
            return format!("{from_to}; too few looks to tell whether it grows.");
        };
        format!(
            "{from_to}; {:+.1} ± {:.1} an hour ({:+.1} in 24 h): {}.",
            slope.an_hour,
            slope.standard_error,
            slope.a_day(),
            slope.verdict(*an_hour_max)
        )
    }

    fn figures(&self, looks: &Looks) -> [Figure; 2] {
        let Self { name, unit, an_hour_max, .. } = self;
        let values = self.values(looks);
        let slope = self.slope(looks).map(|slope| slope.an_hour);
        [
            Figure::new(format!("{name}, {unit}"), 0, values.into_iter().map(|(_, value)| value).collect()),
            Figure::new(format!("… {unit} an hour"), 1, slope.into_iter().collect())
                .judged(Target::AtMost(*an_hour_max)),
        ]
    }
}

/// Of some looks; there is at least one.
fn mean(looks: &[(Duration, f64)]) -> (Duration, f64) {
    let count = u32::try_from(looks.len()).unwrap_or(u32::MAX);
    let at: Duration = looks.iter().map(|(at, _)| *at).sum();
    (at / count, looks.iter().map(|(_, value)| value).sum::<f64>() / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident(bytes_each_look: impl Fn(u32) -> u64) -> Looks {
        let size = |turn| Size { resident_bytes: bytes_each_look(turn), ..Size::default() };
        (0..100).map(|turn| (LOOK_EVERY * turn, size(turn))).collect()
    }

    #[test]
    fn growth_is_told_with_its_units() {
        let leak = resident(|turn| 40_000_000 + u64::from(turn) * 1_000);
        assert_eq!(
            QUANTITIES[0].told(&leak),
            "resident: 40000 → 40099 kB; +720.0 ± 0.0 an hour (+17280.0 in 24 h): grows."
        );
        let [seen, slope] = QUANTITIES[0].figures(&leak);
        assert_eq!((seen.flamekeeper.len(), slope.is_reached), (100, Some(false)));
    }

    #[test]
    fn what_comes_and_goes_with_an_outage_is_no_growth() {
        let busy = resident(|turn| if turn % OUTAGE_EVERY < OUTAGE { 80_000_000 } else { 40_000_000 });
        assert!(QUANTITIES[0].told(&busy).ends_with("flat."), "{}", QUANTITIES[0].told(&busy));
    }

    #[test]
    fn caches_are_told_by_name() {
        let text =
            |names| format!("flamekeeper_cache_bytes{{cache=\"names\"}} {names}\nflamekeeper_services 7\n");
        let (before, after) = (Metrics::parse(&text(400_000)), Metrics::parse(&text(1_234_567)));
        assert_eq!(told_by_cache(&before, &after), "caches: names 400 → 1235 kB.");
    }

    #[test]
    fn what_stays_is_flat() {
        let [_, slope] = QUANTITIES[0].figures(&resident(|_| 40_000_000));
        assert_eq!((slope.flamekeeper, slope.is_reached), (vec![0.0], Some(true)));
        assert!(QUANTITIES[0].told(&resident(|_| 1)).ends_with("flat."));
    }

    #[test]
    fn an_outage_ends_before_the_next_begins() {
        const { assert!(OUTAGE < OUTAGE_EVERY) };
    }
}
