//! The account → OpenMetrics text. Every metric of the product stands here; docs/metrics.md lists them by a test.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use profiler_common::abi::PROGRAMS;
use profiler_common::outcome::Outcome;

use super::account::{Account, BudgetState, Sampling, WatchState, Windows};
use super::sheet::{self, Metric, Sheet};
use crate::attribute::kubernetes::CAUSES;
use crate::host::WallNanos;

mod deliveries;
#[cfg(test)]
mod tests;

/// A metric: its name without `flamekeeper_` and `_total`, and what it means.
const fn m(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help }
}

/// The text for `/metrics`.
pub fn exposition(account: Arc<Account>) -> String {
    // Writing to memory does not fail.
    sheet::text(move |sheet| write(sheet, &account)).unwrap_or_default()
}

fn write(sheet: &mut Sheet<'_>, account: &Account) -> fmt::Result {
    let build = &account.build;
    let facts =
        [("version", build.version), ("architecture", build.architecture), ("kernel", &*build.kernel)];
    sheet.info(m("build", "Version of flamekeeper, and what it runs on."), &facts)?;
    let metric = m("start_time_seconds", "When the daemon began, seconds since 1970.");
    sheet.gauge(metric, seconds_since_1970(account.started_at))?;
    sampling(sheet, &account.sampling)?;
    bpf(sheet, account)?;
    own(sheet, account)?;
    tables(sheet, account)?;
    windows(sheet, &account.windows)?;
    targets(sheet, account)?;
    queues(sheet, account)?;
    deliveries::write(sheet, account)?;
    config(sheet, account)?;
    serve(sheet, account)?;
    logs(sheet, account)
}

fn sampling(sheet: &mut Sheet<'_>, of: &Sampling) -> fmt::Result {
    let count = |outcome| of.counts.get(outcome);
    sheet.counter(m("samples", "Samples taken by the kernel half."), count(Outcome::Samples))?;
    sheet.counter(
        m(
            "samples_left_out",
            "Samples of processes that are not wanted: a rule drops them, or they are helpers of flamekeeper's own.",
        ),
        of.left_out,
    )?;
    sheet.counter(m("sampled_cpu_seconds", "CPU time that the samples stand for."), of.cpu.as_secs_f64())?;
    let losses = Outcome::ALL.iter().filter(|outcome| outcome.is_loss());
    sheet.counters(
        m("losses", "What was asked for and is missing, by cause: samples, stacks, names or process events."),
        losses.map(|&outcome| ([("cause", outcome.label())], count(outcome))),
    )?;
    let ends = Outcome::ALL.iter().filter(|outcome| outcome.number() < Outcome::Samples.number());
    sheet.counters(
        m("stacks", "Samples by how the walk of their user stack ended; root_reached has all frames."),
        ends.map(|&outcome| ([("outcome", outcome.label())], of.stacks.get(outcome))),
    )?;
    let others = [
        (Outcome::Definitions, m("stack_definitions", "Stacks that were sent from the kernel, once each.")),
        (
            Outcome::Snapshots,
            m("snapshots", "Samples that carried the top of their stack to be walked here."),
        ),
        (
            Outcome::WalkedByParent,
            m(
                "samples_walked_by_parent",
                "Samples of forked processes that were walked by their parent's tables.",
            ),
        ),
        (Outcome::Filtered, m("ticks_filtered", "Ticks in processes that are not sampled.")),
    ];
    others.into_iter().try_for_each(|(outcome, metric)| sheet.counter(metric, count(outcome)))?;
    rate(sheet, of)
}

fn rate(sheet: &mut Sheet<'_>, of: &Sampling) -> fmt::Result {
    sheet.gauge(m("sampling_rate_hertz", "Samples a second on each CPU, now."), of.rate_hz)?;
    sheet.gauge(
        m("sampling_rate_configured_hertz", "Samples a second on each CPU, as configured."),
        of.rate_configured_hz,
    )?;
    sheet.counters(
        m("sampling_rate_changes", "Changes of the sampling rate, by the CPU budget or for pulls."),
        [([("direction", "down")], of.rate_lowered), ([("direction", "up")], of.rate_raised)],
    )?;
    sheet.gauge(m("cpus_online", "CPUs that are online."), of.cpus_online)?;
    sheet.gauge(m("cpus_sampled", "CPUs that are sampled."), of.cpus_sampled)?;
    sheet.gauge_if_known(
        m("cpu_budget_ratio", "What flamekeeper may use of one CPU; absent without a budget."),
        of.cpu_budget_ratio,
    )?;
    sheet.gauge(
        m(
            "cpu_used_ratio",
            "What flamekeeper used of one CPU when it last looked, with BPF programs, without helpers.",
        ),
        of.cpu_used_ratio,
    )?;
    sheet.state(
        m("cpu_budget_state", "1 for what the CPU budget does to the sampling rate, 0 for the others."),
        BudgetState::ALL.map(BudgetState::label),
        of.budget.label(),
    )
}

fn bpf(sheet: &mut Sheet<'_>, account: &Account) -> fmt::Result {
    let times = || PROGRAMS.into_iter().zip(&account.bpf.run_times);
    sheet.counters(
        m("bpf_run_seconds", "Time in the kernel half, by program, as the programs themselves measure it."),
        times().map(|(program, time)| ([("program", program)], seconds(Duration::from_nanos(time.nanos)))),
    )?;
    sheet.counters(
        m("bpf_runs", "Runs of the kernel half, by program."),
        times().map(|(program, time)| ([("program", program)], time.runs)),
    )?;
    sheet.gauges(
        m("bpf_map_memory_bytes", "Kernel memory of the maps."),
        account.bpf.map_bytes.iter().map(|(map, &bytes)| ([("map", &**map)], bytes)),
    )
}

fn own(sheet: &mut Sheet<'_>, account: &Account) -> fmt::Result {
    let own = &account.own;
    let parts = [("daemon", Some(own.cpu)), ("helpers", own.children_cpu)];
    sheet.counters(
        m("own_cpu_seconds", "CPU time of the daemon, and of helper processes that have ended."),
        parts.into_iter().filter_map(|(part, time)| Some(([("part", part)], seconds(time?)))),
    )?;
    let gauges = [
        (m("own_resident_memory_bytes", "Memory of the daemon in RAM."), own.resident_bytes),
        (m("own_resident_memory_peak_bytes", "The most that it ever was."), own.resident_peak_bytes),
        (m("own_threads", "Threads of the daemon."), own.threads),
        (m("own_open_files", "Open files of the daemon."), own.open_files),
    ];
    gauges.into_iter().try_for_each(|(metric, value)| sheet.gauge_if_known(metric, value))?;
    sheet.gauge(m("memory_budget_bytes", "What the daemon may take of RAM."), account.memory_budget_bytes)?;
    sheet.gauges(
        m(
            "cache_bytes",
            "What is kept in RAM so that it need not be asked for or made again: definitions of stacks, rows of files, \
             names in files.",
        ),
        account.cache_bytes.iter().map(|(&cache, &bytes)| ([("cache", cache)], bytes)),
    )?;
    sheet.counter(
        m("caches_emptied", "Times that memory came near its budget, so that caches were emptied."),
        account.caches_emptied,
    )
}

fn tables(sheet: &mut Sheet<'_>, account: &Account) -> fmt::Result {
    let of = &account.tables;
    sheet.counters(
        m("unwind_table_builds", "Files whose unwind rows were made, or found on disk from an earlier time."),
        [([("source", "built")], of.built), ([("source", "reused")], of.reused)],
    )?;
    sheet
        .counter(m("unwind_table_build_seconds", "CPU time that making rows took."), seconds(of.build_cpu))?;
    sheet.gauge(m("unwind_table_memory_bytes", "Kernel memory of the unwind tables."), of.bytes)?;
    sheet.gauge(m("unwind_table_memory_max_bytes", "What the unwind tables may take."), of.bytes_max)
}

fn windows(sheet: &mut Sheet<'_>, of: &Windows) -> fmt::Result {
    sheet.counter(m("windows", "Windows that were finished."), of.finished)?;
    sheet.counter(m("windows_failed", "Windows that could not be encoded, and are lost."), of.failed)?;
    sheet.gauge_if_known(
        m("window_last_end_timestamp_seconds", "End of the last finished window, seconds since 1970."),
        of.last_end.map(seconds_since_1970),
    )?;
    sheet.counter(
        m("window_finish_seconds", "CPU time of naming and encoding windows."),
        seconds(of.finish_cpu),
    )?;
    sheet.counter(
        m("profiles", "Profiles in finished windows: one a label set, more for large ones."),
        of.profiles,
    )?;
    sheet.counter(m("profile_samples", "Samples in finished windows."), of.samples)?;
    sheet.counters(
        m("profile_bytes", "Size of the profiles in finished windows, before and after compression."),
        [([("encoding", "pprof")], of.bytes_uncompressed), ([("encoding", "gzip")], of.bytes_compressed)],
    )?;
    sheet.gauge(m("label_sets", "Label sets of the last window."), of.label_sets)?;
    sheet.gauge(m("label_sets_max", "Label sets that a window may have."), of.label_sets_max)?;
    sheet.counter(
        m(
            "label_set_overflow_samples",
            "Samples under service_name=\"other\": their label set was one too many.",
        ),
        of.samples_in_other,
    )
}

fn targets(sheet: &mut Sheet<'_>, account: &Account) -> fmt::Result {
    let of = &account.processes;
    sheet.gauges(
        m("processes", "Processes that are known, by whether they are sampled."),
        [([("state", "sampled")], of.sampled), ([("state", "dropped")], of.dropped)],
    )?;
    sheet.gauge(m("services", "Distinct service names of the sampled processes."), of.services)?;
    sheet.counter(
        m("processes_ended_unread", "Processes that had ended before their labels could be read."),
        of.ended_first,
    )?;
    sheet.counter(
        m("label_sets_cut", "Label sets that were cut to what the database takes."),
        of.label_sets_cut,
    )?;
    let kubernetes = &account.kubernetes;
    sheet.state(
        m("kubernetes_watch_state", "1 for how the watch on this node's pods stands, 0 for the others."),
        WatchState::ALL.map(WatchState::label),
        kubernetes.state.label(),
    )?;
    sheet.gauge(m("kubernetes_pods", "Pods of this node that are known."), kubernetes.pods)?;
    sheet.counters(
        m("kubernetes_watch_failures", "Times that the watch broke, by cause."),
        CAUSES.map(|cause| ([("cause", cause)], kubernetes.failures.get(cause).copied().unwrap_or(0))),
    )
}

fn queues(sheet: &mut Sheet<'_>, account: &Account) -> fmt::Result {
    let all = || account.queues.iter().map(|(&name, queue)| ([("queue", name)], queue));
    sheet.gauges(
        m("queue_items", "What waits in a queue."),
        all().map(|(name, queue)| (name, queue.length)),
    )?;
    sheet.gauges(
        m("queue_capacity_items", "What fits into a queue."),
        all().map(|(name, queue)| (name, queue.capacity)),
    )?;
    sheet.counters(
        m("queue_refused", "What found a queue full."),
        all().map(|(name, queue)| (name, queue.refused)),
    )
}

fn config(sheet: &mut Sheet<'_>, account: &Account) -> fmt::Result {
    let of = &account.config;
    sheet.counters(
        m("config_loads", "Configurations that were read; after a refused one the one before goes on."),
        [([("result", "taken")], of.taken), ([("result", "refused")], of.refused)],
    )?;
    sheet.gauge(
        m("config_taken_timestamp_seconds", "When the configuration in force was read, seconds since 1970."),
        seconds_since_1970(of.taken_at),
    )
}

fn serve(sheet: &mut Sheet<'_>, account: &Account) -> fmt::Result {
    let of = &account.serve;
    let requests: Vec<_> =
        of.requests.iter().map(|(&(route, status), &count)| (route, status.to_string(), count)).collect();
    sheet.counters(
        m("http_requests", "Requests to this server, by route and status."),
        requests.iter().map(|(route, status, count)| ([("route", *route), ("status", &**status)], *count)),
    )?;
    sheet.counters(
        m("http_refusals", "Requests that were refused for who asked, by reason."),
        of.refusals.iter().map(|(&reason, &count)| ([("reason", reason)], count)),
    )?;
    sheet.counter(m("http_connections", "Connections to this server."), of.connections)?;
    sheet.gauge(m("http_connections_open", "Connections that are open."), of.connections_open)?;
    sheet
        .counter(m("http_accept_failures", "Connections that could not be accepted."), of.accept_failures)?;
    sheet.counter(
        m("http_connections_refused", "Connections that were closed at once: too many from one address."),
        of.crowded,
    )?;
    sheet.gauge(m("pulls_open", "Profiles that are being taken on demand."), of.pulls_open)
}

fn logs(sheet: &mut Sheet<'_>, account: &Account) -> fmt::Result {
    let of = &account.logs;
    sheet.counters(
        m("log_lines", "Lines of the log, by level."),
        of.written.iter().map(|&(level, count)| ([("level", level)], count)),
    )?;
    sheet.counter(m("log_lines_swallowed", "Lines that were left out: too many of their kind."), of.swallowed)
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn nanos(nanos: u64) -> f64 {
    seconds(Duration::from_nanos(nanos))
}

fn seconds_since_1970(at: WallNanos) -> f64 {
    nanos(at.0)
}
