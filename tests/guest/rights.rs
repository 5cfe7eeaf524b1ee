//! With less than everything: capabilities, a user namespace, a host that hides addresses or asks for more, a root folder that
//! nobody may write to. What works must work in full, what does not must say why in words.

use anyhow::{Context, Result, bail, ensure};
use profiler_tests::{Capture, Captured};

use crate::captures::{LEAST, Watched, machine};
use crate::loads::plain;
use crate::outcome::Outcome;

/// What the documentation asks for.
const DOCUMENTED: &str =
    "--bounding-set=-all,+bpf,+perfmon,+sys_ptrace,+dac_read_search,+syslog,+checkpoint_restore";

/// Exit code of a capture that is not permitted.
const NOT_PERMITTED: i32 = 77;

fn refused(capture: Capture, words: &[&str]) -> Result<Captured> {
    capture.run()?.expect_code(NOT_PERMITTED)?.expect_words(words)
}

fn short() -> Result<Capture> {
    Ok(Capture::record(&machine()?)?.args(["-d", "500ms"]).output("p.folded"))
}

/// Whole stacks of the plain workload by a capture that was changed.
fn whole(words: &str, change: impl Fn(Capture) -> Capture) -> Result<Outcome> {
    let (workload, answer) = plain();
    let figures = Watched::of(&workload, change)?.judged(&answer, LEAST)?;
    Ok(Outcome::Passed(figures.saying(words)))
}

/// With nothing but what the documentation asks for. By its path: the shell has a setpriv of its own.
pub(crate) fn as_documented(capture: Capture) -> Capture {
    let unlimited = ["sh", "-c", "ulimit -l unlimited; exec \"$@\"", "sh"];
    capture.under(unlimited).under(["/bin/setpriv", DOCUMENTED])
}

/// Those of the documentation are enough; without one of the two that everything needs, it is named.
pub(crate) fn without_capabilities() -> Result<Outcome> {
    for (dropped, name) in [("perfmon", "CAP_PERFMON"), ("bpf", "CAP_BPF")] {
        // CAP_SYS_ADMIN stands in for both, so it goes, too.
        refused(short()?.without_capabilities(&[dropped, "sys_admin"]), &[name]).context(dropped)?;
    }
    refused(short()?.as_nobody()?, &["CAP_BPF", "CAP_PERFMON"]).context("nobody")?;
    // The level that the documentation asks for where kernels take no CAP_PERFMON above it.
    let _paranoid = Setting::set("perf_event_paranoid", "2")?;
    // Kernels before 5.11 count maps as locked memory, of which there is little.
    let limited = short()?.under(["setpriv", DOCUMENTED]).run()?;
    if limited.code != Some(0) {
        limited.expect_code(NOT_PERMITTED)?.expect_words(&["ulimit -l unlimited"])?;
    }
    whole("three refusals named what is missing", as_documented).context("with the documented capabilities")
}

/// Capabilities that count in a namespace of one's own only.
pub(crate) fn in_a_user_namespace() -> Result<Outcome> {
    let inside = ["unshare", "--user", "--map-root-user"];
    let captured = refused(short()?.under(inside), &["user namespace"])?;
    let words = captured.lines_with("user namespace").join(" ");
    let doctor = Capture::plain(["doctor"])?.under(inside).run()?.expect_code(2)?.stdout_text();
    ensure!(doctor.contains("user namespace"), "{doctor}");
    Ok(Outcome::said(words))
}

/// A setting for the length of a test.
pub(crate) struct Setting {
    file: String,
    before: String,
}

impl Setting {
    pub(crate) fn set(name: &str, value: &str) -> Result<Self> {
        let file = format!("/proc/sys/kernel/{name}");
        let before = std::fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
        std::fs::write(&file, value).with_context(|| format!("write {value} to {file}"))?;
        Ok(Self { file, before })
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        // A test after this one says if it did not work.
        std::fs::write(&self.file, self.before.trim()).ok();
    }
}

/// With 2 even root sees no addresses: user stacks stay whole, and one line says what is lost.
pub(crate) fn hidden_kernel_addresses() -> Result<Outcome> {
    let _hidden = Setting::set("kptr_restrict", "2")?;
    let (workload, answer) = plain();
    let seen = Watched::of(&workload, |capture| capture)?;
    let figures = seen.judged(&answer, LEAST)?;
    let lines = seen.captured.lines_with("kptr_restrict");
    ensure!(lines.len() == 1, "one line should name kptr_restrict:\n{}", seen.captured.stderr);
    Ok(Outcome::Passed(figures.saying(lines.first().copied().unwrap_or_default())))
}

/// The highest level that a distribution knows does not bind root. Who has CAP_PERFMON alone is bound by the kernels of some
/// distributions, and told so.
pub(crate) fn paranoid() -> Result<Outcome> {
    let _paranoid = Setting::set("perf_event_paranoid", "4")?;
    let captured = as_documented(short()?).run()?;
    let words = match captured.code {
        Some(0) => "the documented capabilities are enough",
        Some(NOT_PERMITTED) => {
            captured.expect_words(&["perf_event_paranoid"])?;
            "the documented capabilities are refused, and the setting is named"
        }
        code => bail!("exit code {code:?} with the documented capabilities:\n{}", captured.stderr),
    };
    whole(words, |capture| capture).context("as root")
}

/// In mounts of its own, where nothing but the folder for its outputs can be written to.
pub(crate) fn read_only_root() -> Result<Outcome> {
    whole("", |capture| {
        let capture = capture.env("FLAMEKEEPER_CACHE_DIR", "/var/cache/flamekeeper");
        capture.after_mounting("mount -o remount,bind,ro /; if touch /var/cache/probe; then exit 99; fi")
    })
}
