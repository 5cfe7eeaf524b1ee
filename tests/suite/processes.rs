//! Which processes and threads are in a profile: filters, children, threads, short lives, kernel threads.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use profiler_tests::{
    Capture, Captured, Machine, PprofSample, Signal, Stacks, Workload, cpu_ticks_of_kernel_threads,
    descendants, machine_or_skip, skip, test_name,
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
        let of_thread = |sample: &&PprofSample| sample.numbers.get("tid") == Some(&tid);
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
    let disk = match MemoryDisk::attach() {
        Ok(disk) => disk,
        Err(reason) => return skip(test_name!(), &format!("no loop device: {reason}")),
    };
    let before = cpu_ticks_of_kernel_threads()?;
    let capture = Capture::record(&machine)?.args(["-F", "499"]).output("p.pb.gz").start()?;
    capture.samples()?;
    let ticks = keep_kernel_threads_busy(&disk, &before, 40)?;
    capture.signal(Signal::INT)?;
    let pprof = capture.finish()?.expect_code(0)?.pprof("p.pb.gz")?;
    ensure!(ticks >= 40, "kernel threads took {ticks} ticks only");
    let threads = cpu_ticks_of_kernel_threads()?;
    let of_kernel = |sample: &&PprofSample| {
        sample
            .numbers
            .get("pid")
            .and_then(|&pid| u32::try_from(pid).ok())
            .is_some_and(|pid| threads.contains_key(&pid))
    };
    let samples: Vec<_> = pprof.samples.iter().filter(of_kernel).collect();
    let stacks = Stacks(samples.iter().map(|sample| sample.stack()).collect());
    // A tick is at most 10 ms, five samples; but the kernel books whole ticks to whomever it meets.
    ensure!(stacks.total() >= ticks, "{ticks} ticks of kernel threads: {stacks}");
    ensure!(stacks.processes().iter().any(|name| name.starts_with("kworker")), "{stacks}");
    let in_kernel = |sample: &&PprofSample| sample.mapping_files.iter().all(|file| file.contains("kernel"));
    ensure!(samples.iter().all(in_kernel), "a kernel thread has user frames: {stacks}");
    Ok(())
}

/// A disk whose blocks lie in memory: a kernel thread copies each one that is read.
struct MemoryDisk {
    path: String,
    _open: File,
}

impl MemoryDisk {
    fn attach() -> Result<Self> {
        let backing = tempfile::NamedTempFile::new_in("/dev/shm")?;
        backing.as_file().write_all_at(&vec![0x5a; 32 << 20], 0)?;
        let output = Command::new("losetup").args(["--find", "--show"]).arg(backing.path()).output()?;
        ensure!(output.status.success(), "losetup: {}", String::from_utf8_lossy(&output.stderr));
        let path = String::from_utf8(output.stdout)?.trim().to_owned();
        let open = File::open(&path);
        // Detached from now on, which takes effect when the last one closes it, however this test ends.
        let detached = Command::new("losetup").args(["--detach", &path]).status()?;
        ensure!(detached.success(), "losetup cannot detach {path}");
        Ok(Self { path, _open: open? })
    }

    /// Reads all of it, past the kernel's cache.
    fn read(&self) -> Result<()> {
        let from = format!("if={}", self.path);
        let output = Command::new("dd").args([&from, "of=/dev/null", "bs=1M", "iflag=direct"]).output()?;
        ensure!(output.status.success(), "dd: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

/// Has the kernel's own threads work; gives the ticks that they took since `before`, `enough` if it can be.
fn keep_kernel_threads_busy(disk: &MemoryDisk, before: &BTreeMap<u32, u64>, enough: u64) -> Result<u64> {
    const TRIES: u32 = 400;
    let mut ticks = 0;
    for _ in 0..TRIES {
        disk.read()?;
        let now = cpu_ticks_of_kernel_threads()?;
        ticks =
            now.iter().map(|(pid, ticks)| ticks.saturating_sub(before.get(pid).copied().unwrap_or(0))).sum();
        if ticks >= enough {
            break;
        }
    }
    Ok(ticks)
}

#[test]
fn a_process_inside_another_pid_namespace_has_its_pid_out_here() -> Result<()> {
    let machine = machine_or_skip!();
    let wrapper = ["unshare", "--pid", "--fork", "--kill-child"];
    if !Command::new("unshare").args(["--pid", "--fork", "true"]).output()?.status.success() {
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
    if !Command::new("unshare").args(&wrapper[1..]).arg("true").output()?.status.success() {
        return skip(test_name!(), "no pid namespaces");
    }
    let whole = Capture::record(&machine)?.under(wrapper).args(["-d", "300ms"]).output("p.folded").run()?;
    whole.expect_code(0)?.expect_words(&["warning: in a PID namespace of its own"])?;
    let one = Capture::record(&machine)?.under(wrapper).of(1).output("p.folded").run()?;
    one.expect_code(1)?.expect_words(&["PID namespace", "--pid=host"])?;
    Ok(())
}
