//! Every program of this host's object → the kernel's verifier, and how many instructions that took.
//!
//! The verifier's work is what a user waits for at start, and it can multiply by a harmless-looking change (a loop
//! whose bound became a constant). So each program's count is locked in `profiler-ebpf/prebuilt/verified.lock`.
//! Loads with aya, as the product does; attaches nothing. Counts differ a little between kernels, hence the margin.

use crate::ebpf;
use crate::packages;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use aya::EbpfLoader;
use aya::programs::Program;
use profiler_common::abi::{FOR_NEW_KERNELS, FOR_OLD_KERNELS, SamplerConfig};
use std::env::consts::ARCH;
use std::fs;

const LOCK: &str = "profiler-ebpf/prebuilt/verified.lock";
const UPDATE: &str = "cargo xtask verifier --update";
/// Bound over the programs that one kernel is given: an emulated CPU verifies some 10,000 a second, and a VM test must not
/// wait minutes.
const MAX_TOTAL: u32 = 60_000;
/// Programs that are loaded together: on kernels with everything, and on those that lack `bpf_loop`.
const TOGETHER: [(&str, &[&str]); 2] =
    [("on new kernels", &FOR_NEW_KERNELS), ("on old kernels", &FOR_OLD_KERNELS)];

/// A program's name and its verified instructions.
type Count = (String, u32);

/// Loads, prints, and compares with the lock file or writes it.
pub(crate) fn run(workspace: &Workspace, update: bool) -> Result<()> {
    if !packages::is_root() {
        println!("SKIPPED: verifier: loading programs needs root");
        return Ok(());
    }
    let Some(counts) = measure(workspace)? else {
        println!("SKIPPED: verifier: this kernel does not say what it verified (5.16 and later do)");
        return Ok(());
    };
    let path = workspace.path(LOCK);
    let locked = fs::read_to_string(&path).unwrap_or_default();
    print!("{}", table(&counts, &locked, ARCH));
    if update {
        fs::write(&path, updated(&counts, &locked, ARCH))
            .with_context(|| format!("write {}", path.display()))?;
    }
    let locked = fs::read_to_string(&path).unwrap_or_default();
    let problems = problems(&counts, &locked, ARCH);
    if !problems.is_empty() {
        bail!("{}; if that is meant to be, run `{UPDATE}` and say why in the commit", problems.join("; "));
    }
    Ok(())
}

/// Loads every program of this architecture's object; `None` if the kernel does not count.
fn measure(workspace: &Workspace) -> Result<Option<Vec<Count>>> {
    let file = workspace.prebuilt().join(ebpf::object_name(ARCH));
    let bytes =
        fs::read(&file).with_context(|| format!("read {}: run `{}`", file.display(), ebpf::REBUILD))?;
    let mut loaded = EbpfLoader::new()
        .override_global("CONFIG", &SamplerConfig::EVERY_BRANCH, true)
        .override_global("AYA_LOG_LEVEL", &NO_LINES, true)
        .load(&bytes)
        .with_context(|| format!("load {}", file.display()))?;
    let mut counts = Vec::new();
    for (name, program) in loaded.programs_mut() {
        match program {
            Program::PerfEvent(program) => program.load(),
            Program::RawTracePoint(program) => program.load(),
            Program::TracePoint(program) => program.load(),
            other => bail!("program {name} is of type {:?}: teach xtask to load it", other.prog_type()),
        }
        .with_context(|| format!("verify program {name}"))?;
        let info = program.info().with_context(|| format!("ask the kernel about program {name}"))?;
        let Some(count) = info.verified_instruction_count() else { return Ok(None) };
        counts.push((name.to_owned(), count));
    }
    counts.sort();
    Ok(Some(counts))
}

/// As it is but at the log's level of debug: aya-log's own code, verified then, is a half more.
const NO_LINES: u8 = 0;

/// The locked count of one program: lines are `ARCH PROGRAM COUNT`.
fn locked_count(locked: &str, architecture: &str, program: &str) -> Option<u32> {
    locked.lines().find_map(|line| match line.split(' ').collect::<Vec<_>>().as_slice() {
        [arch, name, count] if *arch == architecture && *name == program => count.parse().ok(),
        _ => None,
    })
}

/// What a program may grow to before somebody has to look: 20 % and 500 instructions over its locked count.
fn limit(locked: u32) -> u32 {
    locked.saturating_add(locked / 5).saturating_add(500)
}

fn problems(counts: &[Count], locked: &str, architecture: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (program, count) in counts {
        match locked_count(locked, architecture, program) {
            None => problems.push(format!("{program} is not in {LOCK} for {architecture}")),
            Some(before) if *count > limit(before) => {
                problems.push(format!("{program} takes {count} verified instructions, was {before}"));
            }
            Some(_) => {}
        }
    }
    for (program, _) in counts {
        if !TOGETHER.iter().any(|(_, programs)| programs.contains(&program.as_str())) {
            problems.push(format!("{program} is in no list of programs that are loaded together"));
        }
    }
    for (kernels, total) in totals(counts) {
        if total > MAX_TOTAL {
            problems.push(format!(
                "programs {kernels} take {total} verified instructions together, bound is {MAX_TOTAL}"
            ));
        }
    }
    problems
}

fn totals(counts: &[Count]) -> impl Iterator<Item = (&'static str, u32)> {
    TOGETHER.into_iter().map(|(kernels, programs)| {
        let loaded = counts.iter().filter(|(program, _)| programs.contains(&program.as_str()));
        (kernels, loaded.map(|(_, count)| count).sum())
    })
}

fn table(counts: &[Count], locked: &str, architecture: &str) -> String {
    let mut text = format!("{:<24} {:>10} {:>10}\n", "program", "verified", "locked");
    for (program, count) in counts {
        let before = locked_count(locked, architecture, program);
        let before = before.map_or_else(|| "-".to_owned(), |count| count.to_string());
        text += &format!("{program:<24} {count:>10} {before:>10}\n");
    }
    for (kernels, total) in totals(counts) {
        text +=
            &format!("{:<24} {total:>10} {:>10}\n", format!("together {kernels}"), format!("≤ {MAX_TOTAL}"));
    }
    text
}

/// The lock file with this architecture's lines replaced.
fn updated(counts: &[Count], locked: &str, architecture: &str) -> String {
    let own = format!("{architecture} ");
    let others = locked.lines().filter(|line| !line.starts_with('#') && !line.starts_with(&own));
    let mut lines: Vec<String> = others.map(str::to_owned).collect();
    lines.extend(counts.iter().map(|(program, count)| format!("{architecture} {program} {count}")));
    lines.sort();
    format!("# Verified instructions of each program. Written by `{UPDATE}`.\n{}\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKED: &str = "# head\naarch64 on_tick 9000\nx86_64 on_tick 1000\n";

    fn counts(on_tick: u32) -> Vec<Count> {
        vec![("on_tick".to_owned(), on_tick)]
    }

    #[test]
    fn a_program_may_grow_by_a_fifth_and_five_hundred() {
        assert_eq!(problems(&counts(1700), LOCKED, "x86_64"), Vec::<String>::new());
        let jumped = problems(&counts(1701), LOCKED, "x86_64");
        assert_eq!(jumped, ["on_tick takes 1701 verified instructions, was 1000"]);
    }

    #[test]
    fn a_program_that_is_not_locked_is_a_problem() {
        let unknown = problems(&counts(10), "", "x86_64");
        assert_eq!(unknown, ["on_tick is not in profiler-ebpf/prebuilt/verified.lock for x86_64"]);
    }

    #[test]
    fn programs_of_one_kernel_share_one_bound() {
        let locked = "x86_64 on_tick 50000\nx86_64 walk_on 30000\nx86_64 on_fork 10000\n";
        let counts = |on_fork| {
            [("on_tick", 50_000), ("walk_on", 30_000), ("on_fork", on_fork)]
                .map(|(name, count)| (name.to_owned(), count))
        };
        assert_eq!(problems(&counts(10_000), locked, "x86_64"), Vec::<String>::new());
        let over = problems(&counts(10_001), locked, "x86_64");
        assert_eq!(
            over,
            ["programs on new kernels take 60001 verified instructions together, bound is 60000"]
        );
    }

    #[test]
    fn a_program_that_no_kernel_is_given_is_a_problem() {
        let stray = problems(&[("stray".to_owned(), 10)], "x86_64 stray 10\n", "x86_64");
        assert_eq!(stray, ["stray is in no list of programs that are loaded together"]);
    }

    #[test]
    fn an_update_leaves_the_other_architecture_alone() {
        let text = updated(&counts(1234), LOCKED, "x86_64");
        assert_eq!(text.lines().skip(1).collect::<Vec<_>>(), ["aarch64 on_tick 9000", "x86_64 on_tick 1234"]);
    }

    #[test]
    fn the_table_shows_both_counts() {
        expect_test::expect![[r#"
            program                    verified     locked
            on_tick                        1234       1000
            together on new kernels        1234    ≤ 60000
            together on old kernels           0    ≤ 60000
        "#]]
        .assert_eq(&table(&counts(1234), LOCKED, "x86_64"));
    }
}
