//! Names and unwind information from the files that distributions split off: by build id and by debug link.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use profiler_tests::{Capture, Machine, Stacks, Workload, machine_or_skip, tool_or_skip};

const SEVENTY: [&str; 4] = ["main", "outer", "inner", "burn_seventy"];

fn run(program: &str, args: &[&Path]) -> Result<()> {
    let output = Command::new(program).args(args).output().with_context(|| format!("run {program}"))?;
    ensure!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A stripped program and the file with what was stripped off, both in `folder`.
fn split(folder: &Path, name: &str) -> Result<Workload> {
    let program = folder.join("split");
    let workload = Workload::build(name)?.copied_to(&program)?;
    run("objcopy", &["--only-keep-debug".as_ref(), &program, &folder.join("split.debug")])?;
    run("strip", &[&program])?;
    Ok(workload)
}

/// `record -F 499 -d 1s -p PID` of the running workload.
fn stacks_of(machine: &Machine, workload: &Workload) -> Result<Stacks> {
    let running = workload.start()?;
    let capture =
        Capture::record(machine)?.args(["-F", "499", "-d", "1s"]).of(running.pid()).output("p.folded");
    capture.run()?.expect_code(0)?.folded("p.folded")
}

#[test]
fn a_debug_link_beside_the_program_names_it() -> Result<()> {
    tool_or_skip!("objcopy");
    let machine = machine_or_skip!();
    let folder = tempfile::tempdir()?;
    let workload = split(folder.path(), "c_frame_pointers")?;
    let link = format!("--add-gnu-debuglink={}", folder.path().join("split.debug").display());
    run("objcopy", &[link.as_ref(), &workload.path()])?;
    std::fs::create_dir(folder.path().join(".debug"))?;
    std::fs::rename(folder.path().join("split.debug"), folder.path().join(".debug/split.debug"))?;
    stacks_of(&machine, &workload)?.ensure_share(&SEVENTY, 0.7)
}

#[test]
fn a_debug_link_to_another_programs_symbols_is_not_believed() -> Result<()> {
    tool_or_skip!("objcopy");
    let machine = machine_or_skip!();
    let folder = tempfile::tempdir()?;
    let workload = split(folder.path(), "c_frame_pointers")?;
    let link = format!("--add-gnu-debuglink={}", folder.path().join("split.debug").display());
    run("objcopy", &[link.as_ref(), &workload.path()])?;
    // Same name, same place, another program's.
    let other = Workload::build("c_kernel_reader")?.path();
    run("objcopy", &["--only-keep-debug".as_ref(), &other, &folder.path().join("split.debug")])?;
    let stacks = stacks_of(&machine, &workload)?;
    stacks.ensure_share_at_least(&["split+0x*"; 4], 0.95)?;
    stacks.ensure_none(&["read_zeroes"])
}

#[test]
fn the_build_id_folder_of_the_programs_own_root_names_it() -> Result<()> {
    tool_or_skip!("objcopy");
    let machine = machine_or_skip!();
    if !Path::new("/usr/lib/debug").is_dir() {
        return profiler_tests::skip(profiler_tests::test_name!(), "no /usr/lib/debug to mount over");
    }
    let folder = tempfile::tempdir()?;
    let workload = split(folder.path(), "c_frame_pointers")?;
    let notes = Command::new("readelf").arg("-n").arg(workload.path()).output().context("run readelf")?;
    let notes = String::from_utf8(notes.stdout)?;
    let build_id =
        notes.lines().find_map(|line| line.trim().strip_prefix("Build ID: ")).context("no build id")?;
    let (first, rest) = build_id.split_at_checked(2).context("a short build id")?;
    // In mounts of the program's own: this machine's debug files stay as they are.
    let script = format!(
        "mount -t tmpfs none /usr/lib/debug && mkdir -p /usr/lib/debug/.build-id/{first} && \
         cp {} /usr/lib/debug/.build-id/{first}/{rest}.debug && exec \"$@\"",
        folder.path().join("split.debug").display()
    );
    let workload = workload.under(["unshare", "--mount", "sh", "-c", &script, "sh"]);
    stacks_of(&machine, &workload)?.ensure_share(&SEVENTY, 0.7)
}

#[test]
fn a_debug_file_has_what_the_program_lacks_to_walk_its_stack() -> Result<()> {
    tool_or_skip!("objcopy");
    let machine = machine_or_skip!();
    let folder = tempfile::tempdir()?;
    let workload = split(folder.path(), "c_no_unwind_tables")?;
    let whole = ["main", "through_a_frame", "burn_without_frame"];
    let stacks = |workload: &Workload| -> Result<Stacks> {
        let running = workload.start()?;
        let capture = Capture::record(&machine)?.args(["-F", "499", "-d", "3s"]);
        capture.of(running.pid()).output("p.folded").run()?.expect_code(0)?.folded("p.folded")
    };
    stacks(&workload)?.ensure_share_at_least(&["*incomplete*", "split+0x*"], 0.9)?;
    let link = format!("--add-gnu-debuglink={}", folder.path().join("split.debug").display());
    run("objcopy", &[link.as_ref(), &workload.path()])?;
    // The first samples may come before the rows.
    stacks(&workload)?.ensure_share_at_least(&whole, 0.7)
}
