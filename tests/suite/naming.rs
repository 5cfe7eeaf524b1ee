//! Names where they are hard to get: deleted, replaced and stripped files, JIT code, other namespaces.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use profiler_tests::{
    Capture, Machine, RunningWorkload, Stacks, Workload, descendants, machine_or_skip, tool_or_skip,
};
use tempfile::TempPath;

/// `record -F 499 -d 2s -p PID`, as folded stacks.
fn stacks_of(machine: &Machine, pid: u32) -> Result<Stacks> {
    let capture = Capture::record(machine)?.args(["-F", "499", "-d", "2s"]).of(pid).output("p.folded");
    capture.run()?.expect_code(0)?.folded("p.folded")
}

const SEVENTY: [&str; 4] = ["main", "outer", "inner", "burn_seventy"];

#[test]
fn a_deleted_program_is_named() -> Result<()> {
    let machine = machine_or_skip!();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("soon_deleted");
    let burning = Workload::build("c_frame_pointers")?.copied_to(&path)?.start()?;
    std::fs::remove_file(&path)?;
    let stacks = stacks_of(&machine, burning.pid())?;
    stacks.ensure_share(&SEVENTY, 0.7)?;
    ensure!(stacks.processes() == ["soon_deleted"], "{stacks}");
    Ok(())
}

#[test]
fn a_replaced_program_is_named_by_the_file_that_runs() -> Result<()> {
    let machine = machine_or_skip!();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("updated");
    let burning = Workload::build("c_frame_pointers")?.copied_to(&path)?.start()?;
    // As package managers do it: the new file takes the old one's name. It has other functions at these addresses.
    let successor = folder.path().join("successor");
    Workload::build("c_kernel_reader")?.copied_to(&successor)?;
    std::fs::rename(&successor, &path)?;
    let stacks = stacks_of(&machine, burning.pid())?;
    stacks.ensure_share(&SEVENTY, 0.7)?;
    stacks.ensure_none(&["read_zeroes"])
}

#[test]
fn a_program_that_is_deleted_while_it_is_sampled_is_named() -> Result<()> {
    let machine = machine_or_skip!();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("vanishing");
    let burning = Workload::build("c_frame_pointers")?.copied_to(&path)?.start()?;
    let capture =
        Capture::record(&machine)?.args(["-F", "499", "-d", "2s"]).of(burning.pid()).output("p.folded");
    let capture = capture.start()?;
    capture.samples()?;
    burning.works_on(4)?;
    std::fs::remove_file(&path)?;
    capture.finish()?.expect_code(0)?.folded("p.folded")?.ensure_share(&SEVENTY, 0.7)
}

#[test]
fn a_stripped_program_has_module_and_offset_for_names() -> Result<()> {
    tool_or_skip!("strip");
    let machine = machine_or_skip!();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("nameless");
    let workload = Workload::build("c_frame_pointers")?.copied_to(&path)?;
    ensure!(Command::new("strip").arg(&path).status().context("run strip")?.success(), "strip failed");
    let burning = workload.start()?;
    let stacks = stacks_of(&machine, burning.pid())?;
    // main, outer, inner and the burning function: none is dropped, none is called after a neighbour.
    let whole = ["nameless+0x*"; 4];
    stacks.ensure_share_at_least(&whole, 0.95)?;
    stacks.ensure_none(&["burn_*"])
}

#[test]
fn a_stripped_go_program_is_named_by_its_own_table() -> Result<()> {
    tool_or_skip!("go");
    tool_or_skip!("strip");
    let machine = machine_or_skip!();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("nameless_go");
    let workload = Workload::build("go_burn")?.copied_to(&path)?;
    ensure!(Command::new("strip").arg(&path).status().context("run strip")?.success(), "strip failed");
    let burning = workload.start()?;
    let capture = Capture::record(&machine)?.args(["-F", "499", "-d", "2s"]).of(burning.pid());
    let pprof = capture.output("p.pb.gz").run()?.expect_code(0)?.pprof("p.pb.gz")?;
    let frames = ["main.main.func1", "main.feed", "main.(*stove).burn"];
    pprof.stacks().ensure_share_at_least(&frames, 0.9)?;
    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/go_burn.go"))?;
    let begins = source.lines().position(|line| line.contains(") burn(")).context("no burn")?;
    let begins = i64::try_from(begins)? + 1;
    let inner = pprof.samples.iter().filter_map(|sample| sample.locations.first()?.last());
    let burn: Vec<_> = inner.filter(|frame| frame.name == "main.(*stove).burn").collect();
    ensure!(!burn.is_empty(), "{}", pprof.stacks());
    for frame in burn {
        let is_there = frame.file.ends_with("go_burn.go") && frame.start_line == begins;
        ensure!(is_there && (begins..begins + 9).contains(&frame.line), "{frame:?}");
    }
    Ok(())
}

#[test]
fn a_program_without_frame_pointers_keeps_its_leaf() -> Result<()> {
    let machine = machine_or_skip!();
    let burning = Workload::build("c_no_frame_pointers")?.start()?;
    stacks_of(&machine, burning.pid())?.ensure_share_at_least(&["burn_without_frame"], 0.9)
}

#[test]
fn javascript_is_named_by_the_perf_map() -> Result<()> {
    tool_or_skip!("node");
    let machine = machine_or_skip!();
    let script = Workload::build("js_burn")?.start()?;
    let map = format!("/tmp/perf-{}.map", script.pid());
    let stacks = stacks_of(&machine, script.pid());
    // Node leaves its map behind.
    std::fs::remove_file(&map).with_context(|| format!("node wrote no {map}"))?;
    stacks?.ensure_share_at_least(&["*burnSquares*"], 0.8)
}

/// Shell words that lay an empty folder over /tmp. The folder that a workload is started in, which has its
/// program, stays where it is: the checkout may lie below /tmp itself.
macro_rules! hide_tmp {
    () => {
        "here=$PWD && mount --bind . /mnt && mount -t tmpfs none /tmp && mkdir -p \"$here\" && mount --bind /mnt \"$here\""
    };
}

/// `unshare` into mount and pid namespaces of its own, with an empty /tmp; everything ends with it.
const NAMESPACES: [&str; 8] =
    ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"];
const EMPTY_TMP: [&str; 2] = [concat!(hide_tmp!(), " && exec \"$@\""), "sh"];

/// Whether such namespaces can be made here.
fn namespaces_work() -> bool {
    let [program, options @ ..] = NAMESPACES;
    let output = Command::new(program).args(options).args(["mount -t tmpfs none /tmp"]).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn javascript_in_other_namespaces_is_named_by_the_map_it_sees() -> Result<()> {
    tool_or_skip!("node");
    let machine = machine_or_skip!();
    if !namespaces_work() {
        return profiler_tests::skip(profiler_tests::test_name!(), "no mount and pid namespaces");
    }
    let script = Workload::build("js_burn")?.under(EMPTY_TMP).under(NAMESPACES).start()?;
    let [inside, ..] = descendants(script.pid())?[..] else { anyhow::bail!("no process in the namespace") };
    let stacks = stacks_of(&machine, inside)?;
    stacks.of("node").ensure_share_at_least(&["*burnSquares*"], 0.8)
}

#[test]
fn a_program_whose_path_exists_in_its_namespace_only_is_named() -> Result<()> {
    let machine = machine_or_skip!();
    if !namespaces_work() {
        return profiler_tests::skip(profiler_tests::test_name!(), "no mount and pid namespaces");
    }
    let original = Workload::build("c_frame_pointers")?;
    let copy_and_run = concat!(hide_tmp!(), " && cp \"$1\" /tmp/inside_only && exec /tmp/inside_only");
    let workload = original.clone().under([copy_and_run, "sh"]).under(NAMESPACES);
    ensure!(!Path::new("/tmp/inside_only").exists(), "the path exists outside");
    let outer = workload.start()?;
    let [inside, ..] = descendants(outer.pid())?[..] else { anyhow::bail!("no process in the namespace") };
    let stacks = stacks_of(&machine, inside)?;
    ensure!(stacks.processes() == ["inside_only"], "{stacks}");
    stacks.ensure_share(&SEVENTY, 0.7)
}

/// A JIT's program, and the path of the perf map that would name its code.
fn jit(args: &[&str]) -> Result<(RunningWorkload, TempPath, String)> {
    let running = Workload::build("c_jit")?.args(args.iter().copied()).start()?;
    let map = TempPath::try_from_path(format!("/tmp/perf-{}.map", running.pid()))?;
    let names = format!("{:x} 1000 planted_name\n", running.introduced("code")?);
    Ok((running, map, names))
}

#[test]
fn code_without_a_file_is_named_by_a_perf_map_beside_it() -> Result<()> {
    let machine = machine_or_skip!();
    let (running, map, names) = jit(&[])?;
    std::fs::write(&map, names)?;
    stacks_of(&machine, running.pid())?.ensure_share_at_least(&["main", "run_made", "planted_name"], 0.9)
}

#[test]
fn code_in_a_memory_file_is_named_by_a_perf_map_too() -> Result<()> {
    let machine = machine_or_skip!();
    let (running, map, names) = jit(&["memfd"])?;
    std::fs::write(&map, names)?;
    stacks_of(&machine, running.pid())?.ensure_share_at_least(&["main", "run_made", "planted_name"], 0.9)
}

#[test]
fn code_without_a_file_or_name_is_kept() -> Result<()> {
    let machine = machine_or_skip!();
    let (running, _map, _names) = jit(&[])?;
    let stacks = stacks_of(&machine, running.pid())?;
    // One frame more than its caller, and that frame says an address.
    stacks.ensure_share_at_least(&["main", "run_made", "*0x*"], 0.9)
}

#[test]
fn a_perf_map_that_is_a_link_is_not_followed() -> Result<()> {
    let machine = machine_or_skip!();
    let (running, map, names) = jit(&[])?;
    let secret = tempfile::NamedTempFile::new()?;
    std::fs::write(&secret, names)?;
    std::os::unix::fs::symlink(secret.path(), &map)?;
    let stacks = stacks_of(&machine, running.pid())?;
    stacks.ensure_none(&["planted_name"])?;
    stacks.ensure_share_at_least(&["main", "run_made"], 0.9)
}

#[test]
fn a_perf_map_that_is_a_pipe_blocks_nobody() -> Result<()> {
    let machine = machine_or_skip!();
    let (running, map, _names) = jit(&[])?;
    ensure!(Command::new("mkfifo").arg(&map).status().context("run mkfifo")?.success(), "mkfifo failed");
    stacks_of(&machine, running.pid())?.ensure_share_at_least(&["main", "run_made"], 0.9)
}

#[test]
fn a_perf_map_of_another_user_is_not_believed() -> Result<()> {
    let machine = machine_or_skip!();
    let (running, map, names) = jit(&[])?;
    std::fs::write(&map, names)?;
    std::os::unix::fs::chown(&map, Some(65534), Some(65534))?;
    stacks_of(&machine, running.pid())?.ensure_none(&["planted_name"])
}
