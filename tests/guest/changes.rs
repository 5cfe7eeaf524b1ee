//! A host that changes while it is sampled: CPUs that come and go, a suspend.

use anyhow::{Context, Result, ensure};
use profiler_tests::{Capture, Signal};

use crate::captures::machine;
use crate::loads::{plain, workload};
use crate::outcome::Outcome;

/// CPU time of a workload between two steps, in its own ticks of 50 ms.
const BETWEEN: usize = 40;

/// CPU time that a returned CPU may work before it is seen again: it is told between two looks.
const UNSEEN: usize = 160;

/// CPU 1, for the length of a test that has it leave.
pub(crate) struct Cpu(());

impl Cpu {
    const ONLINE: &str = "/sys/devices/system/cpu/cpu1/online";

    /// Why a test cannot be done.
    pub(crate) const STAYS: &str = "no CPU of this guest can leave";

    /// Keeps a program on it.
    pub(crate) const ON_IT: [&str; 2] = ["taskset", "2"];

    pub(crate) fn that_can_leave() -> Result<Option<Self>> {
        Ok(std::fs::exists(Self::ONLINE)?.then_some(Self(())))
    }

    fn set(value: &str) -> Result<()> {
        std::fs::write(Self::ONLINE, value).with_context(|| format!("write {value} to {}", Self::ONLINE))
    }

    pub(crate) fn leaves(&self) -> Result<()> {
        Self::set("0")
    }

    pub(crate) fn comes_back(&self) -> Result<()> {
        Self::set("1")
    }
}

impl Drop for Cpu {
    fn drop(&mut self) {
        // That it is there already, or cannot come, is the test's to say.
        let _told = Self::set("1");
    }
}

/// CPU 1 leaves and comes back during a capture, and what runs on it then is in the profile.
pub(crate) fn cpu_comes_and_goes() -> Result<Outcome> {
    let Some(cpu) = Cpu::that_can_leave()? else { return Ok(Outcome::Untested(Cpu::STAYS.to_owned())) };
    let capture = Capture::record(&machine()?)?.args(["-F", "99"]).output("p.folded").start()?;
    capture.samples()?;
    {
        let before = plain().0.under(Cpu::ON_IT).start()?;
        before.works_on(BETWEEN)?;
        cpu.leaves()?;
        before.works_on(BETWEEN)?;
        cpu.comes_back()?;
    }
    {
        let after = workload("c_kernel_reader").under(Cpu::ON_IT).start()?;
        after.works_on(UNSEEN + BETWEEN)?;
    }
    capture.signal(Signal::INT)?;
    let captured = capture.finish()?.expect_code(0)?;
    let stacks = captured.folded("p.folded")?;
    let before = stacks.of("c_recursion_static").total();
    ensure!(before >= 99, "{before} samples before and while the CPU was away");
    // Of two seconds after the latest look. By name: that it was executed on the CPU nobody saw.
    let after = stacks.of("c_kernel_reader");
    let whole = after.count_with(&["_start", "main"]);
    let after = after.total();
    ensure!(after >= 99, "{after} samples after it had come back\n{}", captured.stderr);
    ensure!(
        whole * 100 >= after * 98,
        "{whole} of {after} samples after it had come back are whole\n{stacks}"
    );
    Ok(Outcome::said(format!("{before} samples before and while it was away, {after} after")))
}

/// Processes and devices are stopped and go on, as in a suspend.
pub(crate) fn suspend() -> Result<Outcome> {
    let Some(how) = Suspend::of_this_kernel()? else {
        return Ok(Outcome::Untested(
            "neither /sys/power/pm_test nor a clock that would wake it up".to_owned(),
        ));
    };
    let running = plain().0.start()?;
    let capture = Capture::record(&machine()?)?.of(running.pid()).output("p.folded").start()?;
    capture.samples()?;
    running.works_on(BETWEEN)?;
    how.now()?;
    running.works_on(BETWEEN)?;
    capture.signal(Signal::INT)?;
    let total = capture.finish()?.expect_code(0)?.folded("p.folded")?.total();
    ensure!(total >= 2 * 99, "{total} samples of four seconds");
    Ok(Outcome::said(format!("{}: {total} samples before and after", how.words())))
}

/// What this kernel offers.
enum Suspend {
    /// The kernel's own rehearsal, which ends by itself.
    Rehearsed,
    /// The real thing, until the clock rings.
    UntilAlarm,
}

const PM_TEST: &str = "/sys/power/pm_test";
const STATE: &str = "/sys/power/state";
const ALARM: &str = "/sys/class/rtc/rtc0/wakealarm";

impl Suspend {
    fn of_this_kernel() -> Result<Option<Self>> {
        let states = std::fs::read_to_string(STATE).unwrap_or_default();
        if std::fs::exists(PM_TEST)? {
            return Ok(Some(Self::Rehearsed));
        }
        Ok((states.contains("mem") && std::fs::exists(ALARM)?).then_some(Self::UntilAlarm))
    }

    fn words(&self) -> &'static str {
        match self {
            Self::Rehearsed => "pm_test",
            Self::UntilAlarm => "suspended until an alarm",
        }
    }

    /// Returns when it is over.
    fn now(&self) -> Result<()> {
        let (file, word, state) = match self {
            Self::Rehearsed => (PM_TEST, "devices", "mem"),
            Self::UntilAlarm => (ALARM, "+3", "mem"),
        };
        std::fs::write(file, word).with_context(|| format!("write {word} to {file}"))?;
        std::fs::write(STATE, state).with_context(|| format!("write {state} to {STATE}"))
    }
}
