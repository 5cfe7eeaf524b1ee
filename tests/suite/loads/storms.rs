//! Processes that live for milliseconds: every sample must arrive, and the first one of a process is often its only one.

use anyhow::{Context, Result};
use profiler_tests::{Answer, Machine, Workload};

use super::{Measured, commanded, commanded_at, loads};

/// Five seconds of CPU time.
const CPU_MILLIS: &str = "5000";

/// From the first instruction of each process to its last: the dynamic linker, start code, `main`, exit; and the children
/// of `posix_spawn` between their start and their exec.
fn whole_lives(functions: &[&str]) -> Answer {
    Answer::program(functions).or(Answer::thread(&["__spawni_child"])).from_the_first_instruction()
}

/// The rate of the measurements that the shares come from: some ten samples in the life of a compiler.
const STORM_RATE_HZ: u32 = 499;

/// Starts the command again and again.
fn spawned(machine: &Machine, command: &[&str], answer: &Answer) -> Result<Measured> {
    let spawner = Workload::build("c_spawn_loop")?.args([CPU_MILLIS]).args(command.iter().copied());
    commanded_at(STORM_RATE_HZ, machine, &spawner, answer)
}

/// Programs that have no symbols but those that they export.
fn without_symbols() -> Answer {
    let spawner = Answer::program(&["__libc_start_main*", "__libc_start_call_main", "main", "one_life"]);
    spawner.or(Answer::thread(&["__spawni_child"])).from_the_first_instruction().without_symbols()
}

loads! {
    fork_and_exec: "fork+exec storm, 8 ms, static", needs [], 0.99, |machine| {
        let flags = ["-O2", "-fomit-frame-pointer", "-DNO_FRAMES"];
        let storm = Workload::variant("c_storm", "c_storm_rows", &flags)?.args(["700"]);
        commanded(machine, &storm, &whole_lives(&["main", "burn_briefly"]).hot(0.7))
    };
    spawned_dynamic: "posix_spawn storm, 5 ms, dynamic", needs [], 0.99, |machine| {
        let brief = Workload::variant("c_brief", "c_brief_dynamic", &["-DBURN=burn_briefly"])?.path();
        let brief = brief.to_str().context("path")?.to_owned();
        let answer = whole_lives(&["main", "burn_briefly"]).or(whole_lives(&["main", "one_life"]));
        spawned(machine, &[&brief, "5"], &answer.hot(0.5))
    };
    gcc_loop: "loop of short gcc -O2 -c", needs ["gcc"], 0.98, |machine| {
        let folder = tempfile::tempdir()?;
        let (source, object) = (folder.path().join("short.c"), folder.path().join("short.o"));
        std::fs::write(&source, SHORT_C)?;
        let command = ["gcc", "-O2", "-c", "-o", object.to_str().context("path")?, source.to_str().context("path")?];
        spawned(machine, &command, &without_symbols().hot(0.0))
    };
    python_loop: "loop of python3 -c", needs ["python3"], 0.99, |machine| {
        spawned(machine, &["/usr/bin/python3", "-c", "pass"], &without_symbols().hot(0.0))
    };
}

const SHORT_C: &str = "#include <stdio.h>
#include <stdlib.h>
static int compare(const void *left, const void *right) { return *(const int *)left - *(const int *)right; }
int main(int argc, char **argv) {
    int numbers[64];
    for (int i = 0; i < 64; i++) numbers[i] = atoi(argv[i % argc]) * i;
    qsort(numbers, 64, sizeof numbers[0], compare);
    for (int i = 0; i < 64; i++) printf(\"%d\\n\", numbers[i]);
    return 0;
}
";
