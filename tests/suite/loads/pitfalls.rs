//! What makes a process hard to know: code that moves or vanishes, leaders that end, ids that come again, crowds.

use std::path::PathBuf;

use anyhow::{Context, Result};
use profiler_tests::{Answer, Capture, Machine, Stacks, Workload, machine_or_skip, skip, test_name, tool};

use super::native::recursion;
use super::{Measured, RATE, Skipped, commanded, loads, watched};

/// Two libraries whose functions have different names.
pub(super) fn plugins() -> Result<(PathBuf, PathBuf)> {
    let left = Workload::variant("c_plugin", "c_plugin_left", &["-DWORK=work_left", "-DBURN=burn_left"])?;
    let right = Workload::variant("c_plugin", "c_plugin_right", &["-DWORK=work_right", "-DBURN=burn_right"])?;
    Ok((left.path(), right.path()))
}

fn recursive(name: &str, flags: &[&str]) -> Result<Workload> {
    Ok(Workload::variant("c_recursion", name, flags)?.args(["0", "40"]))
}

/// How segments are laid out differs by linker and option.
fn linked(machine: &Machine, name: &str, flags: &[&str]) -> Result<Measured> {
    watched(machine, &recursive(name, flags)?, &recursion(40))
}

/// A program that does this to its code after so many milliseconds, and which functions call one another in it.
fn moving(millis: &str, how: &str) -> Result<(Workload, Answer)> {
    let (left, right) = plugins()?;
    let in_library = |work, burn| Answer::program(&["main", "run_moved", work, burn]);
    let answer = match how {
        "away" => in_library("work_left", "burn_left"),
        "over" => in_library("work_left", "burn_left").or(in_library("work_right", "burn_right")),
        _ => Answer::program(&["main", "burn_in_place"]),
    };
    Ok((Workload::build("c_moved_code")?.args([millis, how]).args([left, right]), answer))
}

/// Watched from after the change on.
fn moved(machine: &Machine, how: &str) -> Result<Measured> {
    let (workload, answer) = moving("0", how)?;
    watched(machine, &workload, &answer)
}

/// Watched for a second on either side of the change.
fn moved_while_watched(machine: &Machine, how: &str) -> Result<Measured> {
    let (workload, answer) = moving("1000", how)?;
    commanded(machine, &workload, &answer.from_the_first_instruction())
}

/// The folder in which rustc keeps `ld.lld` for gcc's `-B`.
fn folder_of_lld() -> Result<Option<String>> {
    let Some(rustc) = tool("rustc") else { return Ok(None) };
    let output = std::process::Command::new(rustc).args(["--print", "target-libdir"]).output()?;
    let libraries = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    let folder = libraries.parent().map(|target| target.join("bin/gcc-ld"));
    Ok(folder
        .filter(|folder| folder.join("ld.lld").is_file())
        .map(|folder| folder.to_string_lossy().into_owned()))
}

loads! {
    non_pie: "non-PIE", needs [], 0.99, |machine| linked(machine, "c_recursion_no_pie", &["-no-pie"]);
    separate_code: "-z separate-code", needs [], 0.99, |machine| {
        linked(machine, "c_recursion_separate", &["-Wl,-z,separate-code"])
    };
    one_segment: "-z noseparate-code", needs [], 0.99, |machine| {
        linked(machine, "c_recursion_together", &["-Wl,-z,noseparate-code"])
    };
    two_code_segments: "two executable segments", needs [], 0.99, |machine| {
        let flags = ["-Wl,--section-start=.moved_text=0x800000", "-DFAR=__attribute__((section(\".moved_text\")))"];
        linked(machine, "c_recursion_far", &flags)
    };
    lld: "linked by lld", needs ["rustc"], 0.99, |machine| {
        let folder = folder_of_lld()?.ok_or_else(|| Skipped("no ld.lld beside rustc".to_owned()))?;
        linked(machine, "c_recursion_lld", &["-fuse-ld=lld", &format!("-B{folder}")])
    };
    code_moved_away: "code moved by mremap", needs [], 0.99, |machine| moved(machine, "away");
    code_moved_over: "munmap, other code moved there", needs [], 0.99, |machine| moved(machine, "over");
    text_in_huge_pages: "text replaced by anonymous memory", needs [], 0.99, |machine| moved(machine, "huge");
    // The kernel tells of neither: some samples go by before anybody notices.
    code_moves_away: "the same while watched: mremap", needs [], 0.95, |machine| {
        moved_while_watched(machine, "away")
    };
    code_moves_over: "the same: munmap, moved there", needs [], 0.95, |machine| {
        moved_while_watched(machine, "over")
    };
    text_goes_to_huge_pages: "the same: text replaced", needs [], 0.95, |machine| {
        moved_while_watched(machine, "huge")
    };
    leader_exits: "leader thread ended", needs [], 0.99, |machine| {
        let answer = Answer::thread(&["survivor", "burn_without_leader"]);
        watched(machine, &Workload::build("c_leader_exits")?, &answer)
    };
    exec_from_a_thread: "exec from another thread", needs [], 0.99, |machine| {
        let workload = Workload::build("c_exec_from_thread")?.args(["2000"]);
        let answer = Answer::program(&["main", "burn_after"])
            .or(Answer::thread(&["executes", "burn_before"]))
            .from_the_first_instruction();
        // What it says about its CPU time begins with the new image.
        Ok(Measured { expected: None, ..commanded(machine, &workload, &answer)? })
    };
    memfd: "executed from a memfd", needs [], 0.99, |machine| {
        watched(machine, &Workload::build("c_memfd_exec")?, &Answer::program(&["main", "burn_in_memfd"]))
    };
    deleted: "executable deleted", needs [], 0.99, |machine| {
        let folder = tempfile::tempdir()?;
        let copy = folder.path().join("c_recursion");
        let running = recursive("c_recursion", &[])?.copied_to(&copy)?.start()?;
        std::fs::remove_file(&copy)?;
        let capture = Capture::record(machine)?.of(running.pid()).args(RATE).args(["-d", "2s"]);
        let captured = capture.output("p.pb.gz").run()?.expect_code(0)?;
        Measured::of(&captured, |stacks| stacks, &recursion(40))
    };
    in_a_chroot: "chroot in mounts of its own", needs ["unshare", "chroot", "mount"], 0.99, |machine| {
        let folder = tempfile::tempdir()?;
        let script = "set -e; mount -t tmpfs none \"$1\"; mkdir \"$1/bin\"; cp \"$2\" \"$1/bin/program\"; \
                      for file in $(ldd \"$2\" | grep -o '/[^ ]*'); do \
                      mkdir -p \"$1$(dirname \"$file\")\"; cp \"$file\" \"$1$file\"; done; \
                      exec chroot \"$1\" /bin/program 0 40";
        let program = recursive("c_recursion", &[])?.path();
        let workload = Workload::program("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
            .args([folder.path(), &program]);
        watched(machine, &workload, &recursion(40))
    };
    vfork: "vfork, children that burn", needs [], 0.99, |machine| {
        let answer = Answer::program(&["main", "one_child", "burn_in_child"]).from_the_first_instruction();
        commanded(machine, &Workload::build("c_vfork")?.args(["2000"]), &answer)
    };
    ten_thousand_asleep: "10,000 processes asleep", needs [], 0.99, |machine| {
        let crowd = Workload::build("c_many_asleep")?.args(["10000"]).start()?;
        let capture = Capture::record(machine)?.args(RATE).args(["-d", "2s"]).output("p.pb.gz");
        let captured = capture.run()?.expect_code(0)?;
        let of_one = captured.pprof("p.pb.gz")?.stacks_of(crowd.pid());
        Measured::of(&captured, |_| of_one, &Answer::program(&["main", "burn_among_many"]))
    };
}

#[test]
fn a_process_id_that_comes_again_is_another_program() -> Result<()> {
    let machine = machine_or_skip!();
    let first = Workload::variant("c_brief", "c_brief_first", &["-DBURN=burn_first"])?;
    let second = Workload::variant("c_brief", "c_brief_second", &["-DBURN=burn_second"])?;
    let both = Workload::build("c_pid_reuse")?.args(["1000"]).args([first.path(), second.path()]);
    let capture = Capture::record(&machine)?.args(RATE).output("p.pb.gz").command(&both);
    let captured = capture.run()?;
    if captured.code == Some(77) {
        return skip(test_name!(), "the kernel does not let us choose a process id");
    }
    let captured = captured.expect_code(0)?;
    let pid = u32::try_from(captured.printed("pid")?)?;
    let stacks = captured.pprof("p.pb.gz")?.stacks_of(pid);
    for (program, function) in [("c_brief_first", "burn_first"), ("c_brief_second", "burn_second")] {
        let answer = Answer::program(&["main", function]).from_the_first_instruction();
        answer.judge(&stacks.of(program)).ensure(0.99).with_context(|| program)?;
    }
    stacks.of("c_brief_first").ensure_none(&["burn_second"])?;
    stacks.of("c_brief_second").ensure_none(&["burn_first"])
}

#[test]
fn threads_have_names_of_their_own() -> Result<()> {
    let machine = machine_or_skip!();
    let threads = Workload::build("c_threads")?.start()?;
    let capture = Capture::record(&machine)?.of(threads.pid()).args(RATE).args(["-d", "2s"]);
    let pprof = capture.output("p.pb.gz").run()?.expect_code(0)?.pprof("p.pb.gz")?;
    for (thread, chain) in [("worker-alpha", ["alpha", "burn_alpha"]), ("worker-beta", ["beta", "burn_beta"])]
    {
        let of_thread = |sample: &&profiler_tests::PprofSample| {
            sample.labels.get("thread_name").is_some_and(|name| name == thread)
        };
        let stacks = Stacks(pprof.samples.iter().filter(of_thread).map(|sample| sample.stack()).collect());
        Answer::thread(&chain).judge(&stacks).ensure(0.99).with_context(|| thread)?;
    }
    Ok(())
}
