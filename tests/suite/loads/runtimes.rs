//! The distribution's interpreters and virtual machines: the native part to its root, and code made at run time as far
//! as its compiler keeps frame pointers.

use anyhow::Result;
use profiler_tests::{Answer, Machine, Workload};

use super::{Measured, loads, watched};

/// A C library calls `main`; behind it these functions of the interpreter, which exports them.
fn interpreter(functions: &[&str]) -> Answer {
    let chain = [&["__libc_start_main*", "__libc_start_call_main"], functions].concat();
    Answer::program(&chain).without_symbols().from_the_first_instruction()
}

/// Threads of a virtual machine, and its main thread.
fn java() -> Answer {
    Answer::thread(&["start_thread"])
        .or(Answer::program(&["__libc_start_main*"]))
        .without_symbols()
        .with_made_code()
}

fn java_with(machine: &Machine, flags: &[&str]) -> Result<Measured> {
    watched(machine, &Workload::java("JavaBurn", flags)?, &java())
}

loads! {
    python: "python3", needs ["python3"], 0.95, |machine| {
        watched(machine, &Workload::build("py_burn")?, &interpreter(&["Py_BytesMain", "Py_RunMain"]))
    };
    perl: "perl", needs ["perl"], 0.95, |machine| {
        watched(machine, &Workload::build("pl_burn")?, &interpreter(&["perl_run"]))
    };
    ruby: "ruby", needs ["ruby"], 0.95, |machine| {
        watched(machine, &Workload::build("rb_burn")?, &interpreter(&["ruby_run_node"]))
    };
    php: "php", needs ["php"], 0.95, |machine| {
        watched(machine, &Workload::build("php_burn")?, &interpreter(&[]))
    };
    node: "node", needs ["node"], 0.95, |machine| {
        let answer = interpreter(&["node::Start(int, char**)"]).or(Answer::thread(&["start_thread"]));
        watched(machine, &Workload::build("js_burn")?, &answer.with_made_code())
    };
    java_frame_pointers: "java -XX:+PreserveFramePointer", needs ["java", "javac"], 0.95, |machine| {
        java_with(machine, &["-XX:+PreserveFramePointer"])
    };
}

/// Rows of the table of which nothing is asked: a compiler that keeps no frame pointers.
pub(super) const REPORTED: &[super::Load] = &[super::Load {
    what: "java (no frame pointers)",
    needs: &["java", "javac"],
    least: 0.0,
    run: |machine| java_with(machine, &[]),
}];
