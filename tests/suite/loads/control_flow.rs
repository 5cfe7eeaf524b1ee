//! Where a stack is not just calls: signals, the vdso, the PLT, threads and coroutines, jumps.

use profiler_tests::{Answer, Machine, Workload};

use super::{Measured, loads, watched};

fn plt(machine: &Machine, name: &str, flags: &[&str]) -> anyhow::Result<Measured> {
    let library = Workload::build("c_tiny_library")?.path();
    let library = library.to_string_lossy();
    // By its path: a library without a name of its own is found there again.
    let flags = [flags, &["-Wl,--no-as-needed", &library]].concat();
    watched(
        machine,
        &Workload::variant("c_plt", name, &flags)?,
        // By perf as well: a stub and what it jumps to are short beside the loop that calls them.
        &Answer::program(&["main", "call_tiny", "tiny_*"]).hot(0.05),
    )
}

fn handler() -> Answer {
    Answer::program(&["main", "interrupted", "on_signal", "burn_in_handler"]).hot(0.2)
}

fn threads() -> Answer {
    Answer::thread(&["alpha", "burn_alpha"]).or(Answer::thread(&["beta", "burn_beta"]))
}

loads! {
    signal_handler: "signal handler", needs [], 0.99, |machine| {
        watched(machine, &Workload::build("c_signal")?, &handler())
    };
    signal_handler_on_its_own_stack: "signal handler on sigaltstack", needs [], 0.99, |machine| {
        watched(machine, &Workload::build("c_signal")?.args(["alternate"]), &handler())
    };
    vdso: "vdso", needs [], 0.99, |machine| {
        let answer = Answer::program(&["main", "ask_the_time", "__vdso_clock_gettime"]);
        watched(machine, &Workload::build("c_vdso")?, &answer.hot(0.5))
    };
    plt_lazy: "PLT, lazy", needs [], 0.99, |machine| plt(machine, "c_plt_lazy", &["-Wl,-z,lazy"]);
    plt_now: "PLT, bound at start", needs [], 0.99, |machine| plt(machine, "c_plt_now", &["-Wl,-z,now"]);
    #[cfg(target_arch = "x86_64")]
    plt_sec: "PLT, IBT (.plt.sec)", needs [], 0.99, |machine| {
        plt(machine, "c_plt_sec", &["-fcf-protection", "-Wl,-z,lazy", "-Wl,-z,ibtplt"])
    };
    lazy_binding: "dlopen, lazy binding, dlclose", needs [], 0.99, |machine| {
        let (left, right) = super::pitfalls::plugins()?;
        let answer = Answer::program(&["main", "run_left", "work_left", "burn_left"])
            .or(Answer::program(&["main", "run_right", "work_right", "burn_right"]));
        watched(machine, &Workload::build("c_plugins_come_and_go")?.args([left, right]), &answer.hot(0.8))
    };
    pthreads: "pthreads", needs [], 0.99, |machine| {
        let flags = ["-O2", "-fomit-frame-pointer", "-DNO_FRAMES"];
        watched(machine, &Workload::variant("c_threads", "c_threads_static_rows", &flags)?, &threads())
    };
    clone_threads: "clone() without pthreads", needs [], 0.99, |machine| {
        watched(machine, &Workload::build("c_clone")?, &Answer::thread(&["cloned", "burn_in_clone"]))
    };
    jumps: "setjmp, longjmp", needs [], 0.99, |machine| {
        let answer = Answer::program(&["main", "attempt", "deeper", "burn_and_jump"]);
        watched(machine, &Workload::build("c_jump")?, &answer.hot(0.6))
    };
    coroutines: "makecontext coroutines", needs [], 0.99, |machine| {
        // Nobody calls it: what is looked up is the byte before its first.
        let start = ["__start_context", "libc.so.6+0x*"];
        let answer = Answer::rooted(&start, &["left", "burn_left"])
            .or(Answer::rooted(&start, &["right", "burn_right"]))
            .or(Answer::program(&["main", "round_of_three", "burn_in_main"]));
        watched(machine, &Workload::build("c_coroutines")?, &answer)
    };
}
