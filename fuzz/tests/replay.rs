//! Every input of the corpus, as it is and damaged in ways that are the same on every run.
//!
//! No fuzzer: this runs wherever tests do. `FLAMEKEEPER_FUZZ_ROUNDS` says how often each input is damaged.

use std::path::{Path, PathBuf};

use profiler_fuzz::mutate::{Random, damaged};
use profiler_fuzz::{TARGETS, Target};

const ROUNDS: u64 = 100;

fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let entries = std::fs::read_dir(folder).expect("each target has a folder");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a folder that can be listed").path()).collect();
    files.sort();
    let read = |path: PathBuf| (path.clone(), std::fs::read(path).expect("a file that can be read"));
    files.into_iter().map(read).collect()
}

/// Says which input it was if the target panics.
struct Named<'a>(&'a Path, u64);

impl Drop for Named<'_> {
    #[expect(clippy::print_stderr, reason = "a failed test talks to the person who started it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("input: {}, damage {}", self.0.display(), self.1);
        }
    }
}

fn replay(name: &str) {
    let rounds = std::env::var("FLAMEKEEPER_FUZZ_ROUNDS").ok();
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().expect("a number of rounds"));
    let target = TARGETS.iter().find(|target| target.name == name).expect("a name of the list");
    let corpus = corpus(target);
    assert!(corpus.len() >= 2, "{name} has no seeds");
    target.check(&[]);
    for (path, input) in &corpus {
        assert!(input.len() <= 64 << 10, "{}: larger than the fuzzer takes", path.display());
        for damage in 0..=rounds {
            let _named = Named(path, damage);
            match damage {
                0 => target.check(input),
                _ => target.check(&damaged(input, &mut Random::new(damage.wrapping_mul(SPREAD)))),
            }
        }
    }
}

/// Fibonacci hashing: neighbouring seeds become unlike ones.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

macro_rules! replays {
    ($($name:ident),*) => {
        $(#[test] fn $name() { replay(stringify!($name)) })*

        #[test]
        fn every_target_is_replayed() {
            assert_eq!(TARGETS.map(|target| target.name), [$(stringify!($name)),*]);
        }
    };
}

replays!(
    elf,
    frames,
    go_table,
    go_build,
    cgroup,
    walk,
    maps,
    sideband,
    ring,
    kernel_names,
    perf_map,
    spool,
    pprof
);
