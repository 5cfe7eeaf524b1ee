//! With less than everything: capabilities, a user namespace, a host that hides addresses or asks for more, a root folder that
//! nobody may write to. What works must work in full, what does not must say why in words.

use anyhow::{Context, Result, ensure};
use profiler_tests::{Capture, Captured};

use crate::loads::{figures_of, machine, plain, watched, watched_by};
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

/// Those of the documentation are enough; without one of the two that everything needs, it is named.
pub(crate) fn without_capabilities() -> Result<Outcome> {
    for (dropped, name) in [("perfmon", "CAP_PERFMON"), ("bpf", "CAP_BPF")] {
        // CAP_SYS_ADMIN stands in for both, so it goes, too.
        refused(short()?.without_capabilities(&[dropped, "sys_admin"]), &[name]).context(dropped)?;
    }
    refused(short()?.as_nobody()?, &["CAP_BPF", "CAP_PERFMON"]).context("nobody")?;
    let (workload, answer) = plain();
    let outcome = watched_by(&workload, &answer, |capture| capture.under(["setpriv", DOCUMENTED]));
    figures_of(outcome.context("with the documented capabilities")?, "three refusals named what is missing")
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
struct Setting {
    file: String,
    before: String,
}

impl Setting {
    fn set(name: &str, value: &str) -> Result<Self> {
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
    let outcome = watched(&workload, &answer)?;
    let captured = short()?.run()?.expect_code(0)?;
    let lines = captured.lines_with("kptr_restrict");
    ensure!(lines.len() == 1, "one line should name kptr_restrict:\n{}", captured.stderr);
    figures_of(outcome, lines.first().copied().unwrap_or_default())
}

/// The highest level that a distribution knows does not bind who has the capabilities.
pub(crate) fn paranoid() -> Result<Outcome> {
    let _paranoid = Setting::set("perf_event_paranoid", "4")?;
    let (workload, answer) = plain();
    watched(&workload, &answer).context("as root")?;
    watched_by(&workload, &answer, |capture| capture.under(["setpriv", DOCUMENTED]))
        .context("with the documented capabilities")
}

/// In mounts of its own, where nothing but the folder for its outputs can be written to.
pub(crate) fn read_only_root() -> Result<Outcome> {
    let (workload, answer) = plain();
    watched_by(&workload, &answer, |capture| {
        let capture = capture.env("FLAMEKEEPER_CACHE_DIR", "/var/cache/flamekeeper");
        capture.after_mounting("mount -o remount,bind,ro /; if touch /var/cache/probe; then exit 99; fi")
    })
}
