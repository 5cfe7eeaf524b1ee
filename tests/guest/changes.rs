//! A host that changes while it is sampled: CPUs that come and go, a suspend.

use anyhow::{Context, Result, ensure};
use profiler_tests::{Capture, Signal};

use crate::captures::machine;
use crate::loads::{plain, workload};
use crate::outcome::Outcome;

const ONLINE: &str = "/sys/devices/system/cpu/cpu1/online";

/// CPU time of a workload between two steps, in its own ticks of 50 ms.
const BETWEEN: usize = 40;

/// CPU time that a returned CPU may work before it is seen again: it is told by its silence between two looks.
const UNSEEN: usize = 160;

/// CPU 1 leaves and comes back during a capture, and what runs on it then is in the profile.
pub(crate) fn cpu_comes_and_goes() -> Result<Outcome> {
    if !std::fs::exists(ONLINE)? {
        return Ok(Outcome::Untested(format!("{ONLINE} is not there")));
    }
    let set =
        |value: &str| std::fs::write(ONLINE, value).with_context(|| format!("write {value} to {ONLINE}"));
    let on_cpu_1 = ["taskset", "2"];
    let capture = Capture::record(&machine()?)?.args(["-F", "99"]).output("p.folded").start()?;
    capture.samples()?;
    {
        let before = plain().0.under(on_cpu_1).start()?;
        before.works_on(BETWEEN)?;
        set("0")?;
        before.works_on(BETWEEN)?;
        set("1")?;
    }
    {
        let after = workload("c_kernel_reader").under(on_cpu_1).start()?;
        after.works_on(UNSEEN + BETWEEN)?;
    }
    capture.signal(Signal::INT)?;
    let captured = capture.finish()?.expect_code(0)?;
    let stacks = captured.folded("p.folded")?;
    let [before, after] = ["c_recursion_static", "c_kernel_reader"].map(|name| stacks.of(name).total());
    ensure!(before >= 99, "{before} samples before and while the CPU was away");
    // Of two seconds after the longest silence.
    ensure!(after >= 99, "{after} samples after it had come back\n{}", captured.stderr);
    Ok(Outcome::said(format!("{before} samples before and while it was away, {after} after")))
}

/// Processes and devices are stopped and go on, as in a suspend.
pub(crate) fn suspend() -> Result<Outcome> {
    const TEST: &str = "/sys/power/pm_test";
    if !std::fs::exists(TEST)? {
        return Ok(Outcome::Untested(format!("{TEST} is not there (CONFIG_PM_DEBUG)")));
    }
    let running = plain().0.start()?;
    let capture = Capture::record(&machine()?)?.of(running.pid()).output("p.folded").start()?;
    capture.samples()?;
    running.works_on(BETWEEN)?;
    std::fs::write(TEST, "devices").context("choose the test of devices")?;
    std::fs::write("/sys/power/state", "mem").context("suspend")?;
    running.works_on(BETWEEN)?;
    capture.signal(Signal::INT)?;
    let total = capture.finish()?.expect_code(0)?.folded("p.folded")?.total();
    ensure!(total >= 2 * 99, "{total} samples of four seconds");
    Ok(Outcome::said(format!("{total} samples before and after")))
}
