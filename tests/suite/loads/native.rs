//! Compiled programs without frame pointers: C, C++, Rust and Go, also static, also stripped.

use anyhow::Result;
use profiler_tests::{Answer, Machine, TwinNames, Workload};

use super::{Measured, loads, watched, watched_as, watched_for};

/// `main`, so many calls of itself, and the work.
pub(super) fn recursion(calls: usize) -> Answer {
    let mut chain = vec!["main"];
    chain.resize(1 + calls, "descend");
    chain.push("burn_at_the_end");
    Answer::program(&chain)
}

fn qsort() -> Answer {
    Answer::program(&["main", "sort_round", "compare", "burn_a_bit"])
}

fn exceptions(functions: &[&str]) -> Answer {
    // The return type of a template is part of its linker name, and not of its debug information.
    let chain = ["main", "catching()", "*passing<long>(long)", "thrower(int)*"];
    // Shortly before it jumps to who catches, libgcc's unwinder writes the catching frame's registers over its own saved
    // ones: for these instructions no information leads back to the caller, and a wrong one is taken for right.
    Answer::program(&[&chain, functions].concat()).some_taken_for_complete(0.01)
}

fn rust(last: &[&str]) -> Answer {
    let chain = ["rust_threads::worker", "rust_threads::outer_work", "rust_threads::inner_work"];
    // The main thread waits; a sample of it is one from before.
    Answer::thread(&[&chain, last].concat()).or(Answer::program(&["rust_threads::main"]))
}

fn go_leaf() -> Answer {
    let functions = ["main.main.func1", "main.outer", "main.caller", "main.leaf"];
    Answer::go(&functions).from_the_first_instruction()
}

/// A stripped program, its own frames named by the twin that still has symbols.
fn stripped(machine: &Machine, whole: &Workload, answer: &Answer) -> Result<Measured> {
    let names = TwinNames::of(&whole.path())?;
    watched_as(machine, &whole.stripped()?, |stacks| names.restore(stacks), answer)
}

fn static_recursion() -> Result<Workload> {
    Ok(Workload::variant("c_recursion", "c_recursion_static", &["-static"])?.args(["0", "40"]))
}

loads! {
    c_recursion: "C -O2, 40 calls deep", needs [], 0.99, |machine| {
        watched(machine, &Workload::build("c_recursion")?.args(["0", "40"]), &recursion(40))
    };
    c_qsort: "C -O2, through qsort", needs [], 0.99, |machine| {
        watched(machine, &Workload::build("c_qsort")?, &qsort())
    };
    c_static: "C -O2, static", needs [], 0.99, |machine| {
        watched(machine, &static_recursion()?, &recursion(40))
    };
    c_static_stripped: "C -O2, static, stripped", needs [], 0.99, |machine| {
        stripped(machine, &static_recursion()?, &recursion(40))
    };
    c_stripped: "C -O2, through qsort, stripped", needs [], 0.99, |machine| {
        stripped(machine, &Workload::build("c_qsort")?, &qsort())
    };
    cpp_exceptions: "C++, exceptions, template, inlined", needs [], 0.99, |machine| {
        watched(machine, &Workload::build("cpp_exceptions")?, &exceptions(&["work_inlined", "burn_steps"]).hot(0.2))
    };
    cpp_exceptions_stripped: "C++, the same stripped", needs [], 0.99, |machine| {
        stripped(machine, &Workload::build("cpp_exceptions")?, &exceptions(&[]).hot(0.5))
    };
    cpp_exceptions_static: "C++, the same static", needs [], 0.99, |machine| {
        let workload = Workload::variant("cpp_exceptions", "cpp_exceptions_static", &["-static"])?;
        watched(machine, &workload, &exceptions(&["work_inlined", "burn_steps"]).hot(0.2))
    };
    rust_threads: "Rust release, threads, inlined", needs [], 0.99, |machine| {
        watched(machine, &Workload::build("rust_threads")?, &rust(&["rust_threads::mixed"]))
    };
    rust_panic_abort: "Rust release, panic=abort", needs [], 0.99, |machine| {
        let workload = Workload::variant("rust_threads", "rust_threads_abort", &["-C", "panic=abort"])?;
        // The crate, and with it the names, are called like the source all the same.
        watched(machine, &workload, &rust(&["rust_threads::mixed"]))
    };
    rust_stripped: "Rust release, stripped", needs [], 0.99, |machine| {
        stripped(machine, &Workload::build("rust_threads")?, &rust(&[]))
    };
    go_frameless_leaf: "Go, a frameless leaf's caller", needs ["go"], 0.99, |machine| {
        watched(machine, &Workload::build("go_leaf")?, &go_leaf())
    };
    go_stripped: "Go -ldflags=-s", needs ["go"], 0.99, |machine| {
        watched(machine, &Workload::variant("go_leaf", "go_leaf_stripped", &["-ldflags=-s -w"])?, &go_leaf())
    };
    go_cgo: "Go with cgo, both ways", needs ["go", "gcc"], 0.99, |machine| {
        // Go's own traces leave C out between Go and Go, too: only its scheduler knows where that stack goes on.
        let back = ["main.main.func1", "main.intoC", "main.goCalledBack", "main.goBurn"];
        let answer = Answer::go(&["main.main.func1", "main.intoC", "c_outer", "c_burn"]).or(Answer::go(&back));
        // No snapshot holds its stacks, which lie in two places: it is whole once it is published, some 15 ms later.
        let workload = Workload::build("go_cgo")?;
        watched_for("5s", machine, &workload, |stacks| stacks, &answer.from_the_first_instruction())
    };
}
