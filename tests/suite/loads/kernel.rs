//! Time in the kernel, and stacks that are deep.

use anyhow::{Result, ensure};
use profiler_tests::{Answer, Capture, Workload, machine_or_skip};

use super::native::recursion;
use super::{RATE, loads, watched};

loads! {
    kernel_reader: "kernel-heavy reader", needs [], 0.99, |machine| {
        let flags = ["-O2", "-fomit-frame-pointer", "-DNO_FRAMES"];
        let workload = Workload::variant("c_kernel_reader", "c_kernel_reader_rows", &flags)?;
        watched(machine, &workload, &Answer::program(&["main", "read_zeroes"]))
    };
    page_faults: "page faults", needs [], 0.99, |machine| {
        let answer = Answer::program(&["main", "map_and_touch", "touch"]);
        watched(machine, &Workload::build("c_page_faults")?, &answer.hot(0.5))
    };
    five_hundred_calls: "C, 500 calls deep", needs [], 0.99, |machine| {
        watched(machine, &Workload::build("c_recursion")?.args(["0", "500"]), &recursion(500))
    };
}

#[test]
fn twelve_hundred_calls_keep_leaf_and_root_and_say_what_is_missing() -> Result<()> {
    let machine = machine_or_skip!();
    let burning = Workload::build("c_recursion")?.args(["0", "1200"]).start()?;
    let capture = Capture::record(&machine)?.of(burning.pid()).args(RATE).args(["-d", "2s"]);
    let stacks = capture.output("p.folded").run()?.expect_code(0)?.folded("p.folded")?;
    // The outermost frames, a marker, the innermost.
    let mut kept = vec!["_start", "main", "descend", "[frames left out]"];
    kept.extend(["descend"; 400]);
    kept.push("burn_at_the_end");
    // The stack is larger than a snapshot: until the process is published its root is missing.
    stacks.ensure_share_at_least(&kept, 0.95)?;
    // Nothing may be invented between marker and leaf.
    let deepest = |stack: &&profiler_tests::Stack| {
        stack.frames.iter().filter(|frame| *frame == "descend").count() > 1200
    };
    ensure!(!stacks.0.iter().any(|stack| deepest(&stack)), "{stacks}");
    Ok(())
}
