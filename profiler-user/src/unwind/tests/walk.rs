//! Stacks of real programs, walked by our rows, by framehop and by `gdb`: the same frames to the root.

use std::collections::HashMap;
use std::fs::File;

use framehop::Unwinder as _;
use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use profiler_common::address::{CodeAddr, ElfVaddr, FileOffset, RuntimeAddr};
use profiler_common::unwind_rule::Rule;
use profiler_common::unwind_step::{Arch, Regs, StepOutcome, step};

use super::stopped::{Mapped, Stopped};
use crate::elf::fixture::Fixture;
use crate::elf::sections::Sections;
use crate::elf::{ElfHeaders, read_exactly};
use crate::unwind::{Budget, FileRows, read_rows};

const SOURCE: &str = r#"
    #define _GNU_SOURCE
    #include <alloca.h>
    #include <signal.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/mman.h>
    #include <ucontext.h>
    #include <pthread.h>
    #include <unistd.h>
    #define KEEP __attribute__((noinline, noclone))
    volatile long sink;
    KEEP static void halt(void) { raise(SIGSTOP); sink++; }
    KEEP static int compare(const void *a, const void *b) {
        if (!sink) { halt(); }
        return *(const int *)a - *(const int *)b;
    }
    KEEP static long deep(long n) {
        char local[40];
        memset(local, (int)n, sizeof local);
        if (n == 0) {
            int numbers[] = {3, 1, 2};
            qsort(numbers, 3, sizeof *numbers, compare);
            return numbers[0] + local[0];
        }
        return deep(n - 1) + local[n % 40];
    }
    static void on_signal(int s) { (void)s; halt(); sink++; }
    KEEP static long divide(long by) { return 7 / by; }
    KEEP static long aligned(long n) {
        char wide[128] __attribute__((aligned(64)));
        char *more = alloca((size_t)n);
        memset(wide, (int)n, sizeof wide);
        memset(more, 1, (size_t)n);
        halt();
        return wide[n % 128] + more[0];
    }
    static ucontext_t back, coroutine;
    static void in_coroutine(void) { halt(); sink++; }
    __attribute__((noreturn, noinline)) static void never(void) { halt(); for (;;) sink++; }
    KEEP static long ends_in_noreturn(long n) { if (n > 100) return n; never(); }
    static void *in_thread(void *a) { return (void *)deep((long)a); }
    int main(int argc, char **argv) {
        const char *what = argc > 1 ? argv[1] : "";
        if (!strcmp(what, "deep")) return (int)deep(500);
        if (!strcmp(what, "aligned")) return (int)aligned(argc * 50);
        if (!strcmp(what, "noreturn")) return (int)ends_in_noreturn(argc);
        if (!strcmp(what, "signal")) {
            stack_t other = { .ss_sp = malloc(65536), .ss_size = 65536 };
            sigaltstack(&other, 0);
            struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };
            sigaction(SIGFPE, &action, 0);
            return (int)divide(argc - 2);
        }
        if (!strcmp(what, "thread")) {
            pthread_t thread;
            pthread_create(&thread, 0, in_thread, (void *)20);
            return pthread_join(thread, 0);
        }
        if (!strcmp(what, "coroutine")) {
            getcontext(&coroutine);
            coroutine.uc_stack.ss_sp = malloc(65536);
            coroutine.uc_stack.ss_size = 65536;
            coroutine.uc_link = &back;
            makecontext(&coroutine, in_coroutine, 0);
            swapcontext(&back, &coroutine);
        }
        return 0;
    }
"#;

/// Files of a process and their rows; a place in one is a place in the other by the file's own segments.
struct Files(HashMap<String, Option<(ElfHeaders, FileRows)>>);

impl Files {
    fn rule(&mut self, stopped: &Stopped, at: CodeAddr<RuntimeAddr>) -> Rule {
        let at = at.lookup().0;
        let Some(mapped) = stopped.code_at(at) else { return Rule::GAP };
        let known = self.0.entry(mapped.path.clone()).or_insert_with(|| open(stopped, mapped));
        let Some((headers, rows)) = known else { return Rule::GAP };
        let offset = FileOffset(at - mapped.start + mapped.offset);
        headers.code_vaddr(offset).map_or(Rule::GAP, |at: ElfVaddr| rows.rule_at(at))
    }
}

fn open(stopped: &Stopped, mapped: &Mapped) -> Option<(ElfHeaders, FileRows)> {
    if mapped.path == "[vdso]" {
        let bytes = stopped.bytes(mapped);
        let headers = ElfHeaders::read(&bytes[..]).unwrap();
        let rows = read_rows(&bytes[..], &headers, Budget::default()).unwrap();
        return Some((headers, rows));
    }
    let file = File::open(&mapped.path).ok()?;
    let headers = ElfHeaders::read(&file).unwrap();
    let rows = read_rows(&file, &headers, Budget::default()).unwrap();
    Some((headers, rows))
}

/// Addresses of all frames, and the outcome that is not a frame.
pub(super) fn walk(stopped: &Stopped) -> (Vec<u64>, StepOutcome) {
    let mut files = Files(HashMap::new());
    let mut regs: Regs = stopped.regs();
    let mut frames = Vec::new();
    let mut is_sampled = true;
    loop {
        let (CodeAddr::Interrupted(pc) | CodeAddr::Return(pc)) = regs.pc;
        frames.push(pc.0);
        let rule = files.rule(stopped, regs.pc);
        let leaf = |number| if is_sampled { stopped.leaf_register(number) } else { None };
        let read = |at: RuntimeAddr| stopped.read(at.0);
        match step(Arch::X86_64, &regs, rule, leaf, read, |at| stopped.code_at(at.0).is_some()) {
            StepOutcome::Frame(caller) if frames.len() < 1000 => regs = caller,
            end => return (frames, end),
        }
        is_sampled = false;
    }
}

/// A mapped file as framehop wants it.
pub(super) fn framehop_module(mapped: &Mapped) -> framehop::Module<Vec<u8>> {
    let file = File::open(&mapped.path).unwrap();
    let headers = ElfHeaders::read(&file).unwrap();
    let sections = Sections::read(&file, &headers).unwrap();
    let part = |name: &[u8]| {
        let section = sections.named(name)?;
        let bytes = read_exactly(&file, "section", section.at, section.bytes).unwrap();
        Some((section.vaddr.0..section.vaddr.0 + section.bytes, bytes))
    };
    let text = part(b".text");
    let (eh_frame, header) = (part(b".eh_frame"), part(b".eh_frame_hdr"));
    let vaddr = headers.code_vaddr(FileOffset(mapped.offset)).unwrap();
    let info = framehop::ExplicitModuleSectionInfo {
        base_svma: 0,
        text_svma: text.as_ref().map(|part| part.0.clone()),
        text: text.map(|part| part.1),
        eh_frame_svma: eh_frame.as_ref().map(|part| part.0.clone()),
        eh_frame: eh_frame.map(|part| part.1),
        eh_frame_hdr_svma: header.as_ref().map(|part| part.0.clone()),
        eh_frame_hdr: header.map(|part| part.1),
        ..Default::default()
    };
    let range = mapped.start..mapped.end;
    framehop::Module::new(mapped.path.clone(), range, mapped.start - vaddr.0, info)
}

fn by_framehop(stopped: &Stopped) -> Vec<u64> {
    let mut unwinder: UnwinderX86_64<Vec<u8>> = UnwinderX86_64::new();
    for mapped in stopped.maps.iter().filter(|mapped| mapped.executable && mapped.path.starts_with('/')) {
        unwinder.add_module(framehop_module(mapped));
    }
    let Regs { pc, sp, fp, .. } = stopped.regs();
    let mut cache = CacheX86_64::<framehop::MayAllocateDuringUnwind>::new_in();
    let mut read = |at: u64| stopped.read(at).ok_or(());
    let regs = UnwindRegsX86_64::new(pc.lookup().0, sp, fp);
    let mut frames = unwinder.iter_frames(pc.lookup().0, regs, &mut cache, &mut read);
    let mut found = Vec::new();
    while let Ok(Some(frame)) = frames.next() {
        found.push(frame.address());
    }
    found
}

/// Walks, compares, and gives the functions' names without those of libraries.
fn check(fixture: &Fixture, argument: &str, framehop_agrees: bool) -> Option<Vec<String>> {
    let stopped = Stopped::start(fixture, argument)?;
    let (frames, end) = walk(&stopped);
    let gdb: Vec<u64> = stopped.backtrace.iter().map(|(at, _)| *at).collect();
    assert_eq!(end, StepOutcome::Root, "{argument}: {frames:x?}\n{:x?}", stopped.backtrace);
    let gdb = if argument == "coroutine" { gdb[..frames.len()].to_vec() } else { gdb };
    assert_eq!(frames.len(), gdb.len(), "{argument}: {frames:x?}\n{:x?}", stopped.backtrace);
    let pairs = frames.iter().zip(&gdb).filter(|(_, gdb)| **gdb != 0);
    for (ours, gdb) in pairs {
        assert_eq!(ours, gdb, "{argument}: {frames:x?}\n{:x?}", stopped.backtrace);
    }
    // framehop goes astray behind main's aligned stack, a signal frame and a coroutine's end.
    if framehop_agrees {
        assert_eq!(frames, by_framehop(&stopped), "{argument}");
    }
    let own = ["main", "deep", "compare", "halt", "on_signal", "divide", "aligned", "in_coroutine", "never"];
    let own = |name: &&String| own.contains(&name.as_str()) || name.starts_with(['_', '<', 'e']);
    Some(stopped.backtrace.iter().map(|(_, name)| name).filter(own).cloned().collect())
}

fn fixture(flags: &[&str]) -> Fixture {
    Fixture::compile(
        SOURCE,
        &[&["-O2", "-fomit-frame-pointer", "-pthread", "-Wno-div-by-zero"], flags].concat(),
    )
}

#[test]
fn five_hundred_frames_through_a_library_have_a_root() {
    for flags in [&[][..], &["-static"], &["-no-pie", "-Wl,-z,separate-code"], &["-Wl,-z,noseparate-code"]] {
        let is_static = flags.contains(&"-static");
        let Some(names) = check(&fixture(flags), "deep", !is_static) else { return };
        assert_eq!(names.iter().filter(|name| *name == "deep").count(), 501, "{flags:?}");
        assert!(names.contains(&"compare".to_owned()), "{flags:?}");
        assert_eq!(names.last().unwrap(), "_start", "{flags:?}");
    }
}

#[test]
fn an_aligned_stack_and_a_call_that_never_returns_are_walked() {
    let fixture = fixture(&[]);
    for (argument, framehop_agrees) in [("aligned", false), ("noreturn", true)] {
        let Some(names) = check(&fixture, argument, framehop_agrees) else { return };
        assert_eq!(names.last().unwrap(), "_start", "{argument}");
    }
}

#[test]
fn a_signal_handler_on_its_own_stack_leads_to_what_it_interrupted() {
    let Some(names) = check(&fixture(&[]), "signal", false) else { return };
    let expected = ["halt", "on_signal", "<signal", "divide", "main"];
    let found: Vec<&String> = names.iter().filter(|name| expected.contains(&name.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_coroutine_ends_at_its_own_root() {
    let Some(names) = check(&fixture(&[]), "coroutine", false) else { return };
    assert!(names.contains(&"in_coroutine".to_owned()) && !names.contains(&"main".to_owned()), "{names:?}");
}

#[test]
fn a_thread_that_waits_has_the_stack_that_gdb_sees() {
    let Some(names) = check(&fixture(&[]), "thread", true) else { return };
    assert_eq!(names.last().unwrap(), "_start");
}
