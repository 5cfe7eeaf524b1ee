//! Who every running process is: pid, rule, labels, as the daemon would deliver them. At the end what it took to say so.
//!
//! `cargo run --release --example attribute [PID…]`

use std::io::Write;

use profiler_user::attribute::attributor::{Attributor, ProcessFacts};
use profiler_user::attribute::containers::{ContainerFolders, ContainerStore};
use profiler_user::attribute::rules::HostLabels;
use profiler_user::collect::Tgid;
use profiler_user::host::{Host, MonotonicNanos};
use profiler_user::process::ProcessKey;
use profiler_user::process::files::FileTable;
use profiler_user::process::scan;
use profiler_user::process::table::Program;

/// Times that each process is asked for again.
const KNOWN_TIMES: u32 = 1000;

fn main() -> anyhow::Result<()> {
    let host = Host::new();
    let labels = HostLabels { instance: host.name.as_str().into(), ..HostLabels::default() };
    let folders = ContainerFolders::below("/".as_ref());
    let mut attributor =
        Attributor::new(host.proc.clone(), labels, ContainerStore::new(host.proc.clone(), folders, false));
    let asked: Vec<Tgid> =
        std::env::args().skip(1).map(|pid| pid.parse().map(Tgid)).collect::<Result<_, _>>()?;
    let pids = if asked.is_empty() { scan::running(&host.proc) } else { asked };
    let scanned: Vec<_> =
        pids.into_iter().filter_map(|tgid| Some((tgid, scan::scan(&host.proc, tgid)?))).collect();
    let files = FileTable::new(0);
    let mut out = std::io::stdout().lock();
    let (mut new_nanos, mut known_nanos) = (0, 0);
    for (position, (tgid, found)) in (0..).zip(&scanned) {
        let program = Program {
            executable_name: &found.executable_name,
            parent: None,
            has_executed: false,
            mappings: &found.mappings,
            files: &files,
        };
        let is_kernel_thread = scan::is_kernel_thread(&host.proc, *tgid);
        let facts = ProcessFacts {
            tgid: *tgid,
            run: ProcessKey { tgid: *tgid, start_time: 0, exec_id: position },
            is_kernel_thread,
            program,
        };
        let started = host.clock.monotonic();
        let said = attributor.attribute(&facts, MonotonicNanos(0));
        let answered = host.clock.monotonic();
        for _ in 0..KNOWN_TIMES {
            std::hint::black_box(attributor.attribute(&facts, MonotonicNanos(0)));
        }
        new_nanos += answered.0 - started.0;
        known_nanos += host.clock.since(answered).as_nanos();
        let dropped = said.dropped.as_ref().map(|why| format!(" dropped: {why}")).unwrap_or_default();
        writeln!(out, "{:>7} {} {}{dropped}", tgid.0, said.rule, said.labels)?;
    }
    let count = u64::try_from(scanned.len())?.max(1);
    let known = known_nanos / u128::from(count * u64::from(KNOWN_TIMES));
    writeln!(out, "{count} processes, {} ns each when new, {known} ns when known", new_nanos / count)?;
    Ok(())
}
