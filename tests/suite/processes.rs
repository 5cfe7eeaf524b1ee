//! Which processes and threads are in a profile: filters, children, threads, short lives, kernel threads.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use profiler_tests::{
    Capture, Captured, Machine, Signal, Workload, cpu_ticks_of_kernel_threads, descendants, machine_or_skip,
    skip, test_name,
};

/// `record -F 499 -d 2s` and an output each.
fn record(machine: &Machine) -> Result<Capture> {
    Ok(Capture::record(machine)?.args(["-F", "499", "-d", "2s"]).output("p.pb.gz").output("p.folded"))
}

/// Ids of the processes in the profile.
fn pids(captured: &Captured) -> Result<Vec<i64>> {
    let pprof = captured.pprof("p.pb.gz")?;
    let mut pids: Vec<_> =
        pprof.samples.iter().filter_map(|sample| sample.numbers.get("pid").copied()).collect();
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

#[test]
fn the_whole_host_has_every_busy_process() -> Result<()> {
    let machine = machine_or_skip!();
    let (first, second) =
        (Workload::build("c_frame_pointers")?.start()?, Workload::build("c_kernel_reader")?.start()?);
    let captured = record(&machine)?.run()?.expect_code(0)?;
    let pprof = captured.pprof("p.pb.gz")?;
    for pid in [first.pid(), second.pid()] {
        ensure!(pprof.stacks_of(pid).total() >= 100, "process {pid}:\n{}", pprof.stacks_of(pid));
    }
    pprof.stacks_of(first.pid()).ensure_share(&["main", "outer", "inner", "burn_seventy"], 0.7)
}

#[test]
fn one_pid_is_that_process_alone() -> Result<()> {
    let machine = machine_or_skip!();
    let workload = Workload::build("c_frame_pointers")?;
    let (wanted, _other) = (workload.start()?, workload.start()?);
    let captured = record(&machine)?.of(wanted.pid()).run()?.expect_code(0)?;
    ensure!(pids(&captured)? == [i64::from(wanted.pid())], "{:?}", pids(&captured)?);
    captured.pprof("p.pb.gz")?.stacks().ensure_share(&["main", "burn_seventy"], 0.7)
}

#[test]
fn two_pids_are_those_two() -> Result<()> {
    let machine = machine_or_skip!();
    let workload = Workload::build("c_frame_pointers")?;
    let (first, second, _other) = (workload.start()?, workload.start()?, workload.start()?);
    let captured = record(&machine)?.of(first.pid()).of(second.pid()).run()?.expect_code(0)?;
    let mut wanted = [i64::from(first.pid()), i64::from(second.pid())];
    wanted.sort_unstable();
    ensure!(pids(&captured)? == wanted, "{:?}", pids(&captured)?);
    Ok(())
}

#[test]
fn a_pid_has_all_its_threads_with_names_and_ids() -> Result<()> {
    let machine = machine_or_skip!();
    let running = Workload::build("c_threads")?.start()?;
    let captured = record(&machine)?.of(running.pid()).run()?.expect_code(0)?;
    let pprof = captured.pprof("p.pb.gz")?;
    let mut counts = Vec::new();
    for (name, function) in [("worker-alpha", "burn_alpha"), ("worker-beta", "burn_beta")] {
        let tid = i64::try_from(running.introduced(&format!("thread {name}"))?)?;
        let of_thread = |sample: &&profiler_tests::PprofSample| sample.numbers.get("tid") == Some(&tid);
        let samples: Vec<_> = pprof.samples.iter().filter(of_thread).collect();
        let named =
            samples.iter().all(|sample| sample.labels.get("thread_name").is_some_and(|label| label == name));
        ensure!(named, "labels of {name}: {:?}", samples.first().map(|sample| &sample.labels));
        let inside = samples.iter().filter(|sample| sample.stack().has(&[function]));
        counts.push(inside.map(|sample| sample.count()).sum::<u64>());
    }
    // Alpha does three units of work for each one of beta's.
    let [alpha, beta] = counts[..] else { anyhow::bail!("two threads") };
    let share = pprof.stacks();
    ensure!(alpha > 200 && (beta * 5 / 2..=beta * 7 / 2).contains(&alpha), "{alpha} : {beta}\n{share}");
    Ok(())
}

#[test]
fn children_belong_to_a_pid_only_when_asked_for() -> Result<()> {
    let machine = machine_or_skip!();
    let family = Workload::build("c_family")?.start()?;
    let captured = record(&machine)?.of(family.pid()).run()?.expect_code(0)?;
    let stacks = captured.folded("p.folded")?;
    stacks.ensure_share_at_least(&["main", "burn_in_parent"], 0.9)?;
    stacks.ensure_none(&["burn_in_early_child"])
}

#[test]
fn children_that_are_there_and_children_to_come_are_followed() -> Result<()> {
    let machine = machine_or_skip!();
    let family = Workload::build("c_family")?.start()?;
    let capture = record(&machine)?.args(["--children"]).of(family.pid()).start()?;
    capture.samples()?;
    family.signal(Signal::USR1)?;
    family.next_line(|line| line.starts_with("late "), Duration::from_secs(10))?;
    let stacks = capture.finish()?.expect_code(0)?.folded("p.folded")?;
    for function in ["burn_in_parent", "burn_in_early_child", "burn_in_late_child"] {
        ensure!(stacks.count_with(&["main", function]) >= 50, "{function}: {stacks}");
    }
    Ok(())
}

#[test]
fn a_program_that_ends_before_the_capture_is_named() -> Result<()> {
    let machine = machine_or_skip!();
    let capture = record(&machine)?.start()?;
    capture.samples()?;
    let brief = Workload::build("c_frame_pointers")?.args(["400"]).start()?;
    let pid = brief.pid();
    brief.next_line(|line| line.starts_with("cpu_nanos="), Duration::from_secs(20))?;
    drop(brief);
    let pprof = capture.finish()?.expect_code(0)?.pprof("p.pb.gz")?;
    // The harness starts programs through setpriv, which may be sampled under this pid before it executes them.
    pprof.stacks_of(pid).of("c_frame_pointers").ensure_share(&["main", "outer", "inner", "burn_seventy"], 0.7)
}

#[test]
fn a_pid_that_ends_half_way_leaves_what_was_sampled() -> Result<()> {
    let machine = machine_or_skip!();
    let burning = Workload::build("c_frame_pointers")?.start()?;
    let capture = record(&machine)?.of(burning.pid()).start()?;
    capture.samples()?;
    burning.works_on(8)?;
    drop(burning);
    let stacks = capture.finish()?.expect_code(0)?.folded("p.folded")?;
    stacks.ensure_share_at_least(&["main", "outer", "inner", "burn_*"], 0.9)
}

#[test]
fn a_storm_of_short_lives_is_survived_and_named() -> Result<()> {
    let machine = machine_or_skip!();
    let storm = Workload::build("c_storm")?.args(["200"]);
    let captured = Capture::record(&machine)?.args(["-F", "997"]).output("p.folded").command(&storm).run()?;
    let captured = captured.expect_code(0)?;
    ensure!(captured.stdout_text().contains("lives 200"), "{}", captured.stdout_text());
    let stacks = captured.folded("p.folded")?;
    // Each life burns for several periods; the rest is fork and exec.
    ensure!(stacks.count_with(&["main", "burn_briefly"]) >= 200, "{stacks}");
    stacks.ensure_share_at_least(&["main", "burn_briefly"], 0.5)
}

#[test]
fn the_profiler_leaves_itself_out() -> Result<()> {
    let machine = machine_or_skip!();
    // A storm, so that the profiler has work to do while it samples.
    let _storm = Workload::build("c_storm")?.args(["1000000"]).start()?;
    let captured = record(&machine)?.run()?.expect_code(0)?;
    ensure!(!pids(&captured)?.contains(&i64::from(captured.pid)), "it profiled itself");
    Ok(())
}

#[test]
fn the_profiler_is_in_its_profile_when_asked() -> Result<()> {
    let machine = machine_or_skip!();
    let _storm = Workload::build("c_storm")?.args(["1000000"]).start()?;
    let capture = Capture::record(&machine)?.args(["--self", "-F", "997", "-d", "3s"]).output("p.pb.gz");
    let captured = capture.run()?.expect_code(0)?;
    let own = captured.pprof("p.pb.gz")?.stacks_of(captured.pid);
    ensure!(own.total() > 0 && own.processes() == ["flamekeeper"], "{own}");
    Ok(())
}

#[test]
fn kernel_threads_are_sampled_under_their_names() -> Result<()> {
    let machine = machine_or_skip!();
    let before = cpu_ticks_of_kernel_threads()?;
    let capture = record(&machine)?.start()?;
    capture.samples()?;
    write_out_to_disk()?;
    let captured = capture.finish()?.expect_code(0)?;
    let after = cpu_ticks_of_kernel_threads()?;
    let worked =
        |(&pid, &ticks): (&u32, &u64)| (pid, ticks - before.get(&pid).copied().unwrap_or(0).min(ticks));
    let Some((busiest, ticks)) = after.iter().map(worked).max_by_key(|&(_, ticks)| ticks) else {
        return skip(test_name!(), "no kernel threads are visible");
    };
    // A tick is 10 ms, five samples; but the kernel books whole ticks to whoever it meets.
    if ticks < 5 {
        return skip(test_name!(), "writing to disk kept no kernel thread busy");
    }
    let pprof = captured.pprof("p.pb.gz")?;
    let samples = pprof.samples_of(busiest);
    ensure!(
        !samples.is_empty(),
        "kernel thread {busiest} worked for {ticks} ticks and is not in the profile"
    );
    let stacks = pprof.stacks_of(busiest);
    let names = stacks.processes().into_iter().all(|name| !name.is_empty() && !name.contains('/'));
    ensure!(names || stacks.processes().iter().all(|name| name.starts_with("kworker")), "{stacks}");
    for stack in &stacks.0 {
        ensure!(!stack.frames.is_empty() && !stack.leaf().is_empty(), "{stack:?}");
    }
    let in_kernel = |sample: &&profiler_tests::PprofSample| {
        sample.mapping_files.iter().all(|file| file.contains("kernel"))
    };
    ensure!(samples.iter().all(in_kernel), "a kernel thread has user frames:\n{stacks}");
    Ok(())
}

/// Keeps the kernel's writers busy: a file that is written and synced again and again.
fn write_out_to_disk() -> Result<()> {
    use std::io::{Seek, Write};
    let mut file = tempfile::tempfile_in(profiler_tests::build_folder()?)?;
    let block = vec![0x5a; 1 << 20];
    for _ in 0..6 {
        file.rewind()?;
        for _ in 0..48 {
            file.write_all(&block)?;
        }
        file.sync_all().context("sync")?;
    }
    Ok(())
}

#[test]
fn a_process_inside_another_pid_namespace_has_its_pid_out_here() -> Result<()> {
    let machine = machine_or_skip!();
    let wrapper = ["unshare", "--pid", "--fork", "--kill-child"];
    if !std::process::Command::new("unshare").args(["--pid", "--fork", "true"]).output()?.status.success() {
        return skip(test_name!(), "no pid namespaces");
    }
    let outer = Workload::build("c_frame_pointers")?.under(wrapper).start()?;
    let [inside, ..] = descendants(outer.pid())?[..] else { anyhow::bail!("no process in the namespace") };
    let captured = record(&machine)?.of(inside).run()?.expect_code(0)?;
    ensure!(pids(&captured)? == [i64::from(inside)], "{:?}", pids(&captured)?);
    captured.pprof("p.pb.gz")?.stacks().ensure_share(&["main", "burn_seventy"], 0.7)
}

#[test]
fn in_a_pid_namespace_of_its_own_it_says_what_it_cannot_do() -> Result<()> {
    let machine = machine_or_skip!();
    let wrapper = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    if !std::process::Command::new("unshare").args(&wrapper[1..]).arg("true").output()?.status.success() {
        return skip(test_name!(), "no pid namespaces");
    }
    let whole = Capture::record(&machine)?.under(wrapper).args(["-d", "300ms"]).output("p.folded").run()?;
    whole.expect_code(0)?.expect_words(&["warning: in a PID namespace of its own"])?;
    let one = Capture::record(&machine)?.under(wrapper).of(1).output("p.folded").run()?;
    one.expect_code(1)?.expect_words(&["PID namespace", "--pid=host"])?;
    Ok(())
}
