//! A program that has stopped itself → its registers, the bytes of its stack, and what `gdb` says of both.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use profiler_common::address::{CodeAddr, RuntimeAddr};
use profiler_common::unwind_step::Regs;
use rustix::process::{Pid, WaitId, WaitIdOptions};

use crate::elf::fixture::Fixture;

/// A part of the process's memory with a file behind it, or a stack.
#[derive(Clone, Debug)]
pub(super) struct Mapped {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) offset: u64,
    pub(super) executable: bool,
    pub(super) path: String,
}

/// The program, stopped; killed at the end.
pub(super) struct Stopped {
    child: Child,
    pub(super) maps: Vec<Mapped>,
    memory: File,
    numbers: [u64; 17],
    /// As `gdb` names the functions, innermost first.
    pub(super) backtrace: Vec<(u64, String)>,
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(super) fn hexadecimal(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

impl Stopped {
    /// `None` without `gdb`.
    pub(super) fn start(fixture: &Fixture, argument: &str) -> Option<Self> {
        Self::start_program(&fixture.path(), argument)
    }

    /// The same for any program that stops itself.
    pub(super) fn start_program(path: &Path, argument: &str) -> Option<Self> {
        if Command::new("gdb").arg("--version").stdout(Stdio::null()).status().is_err() {
            println!("skipped: no gdb");
            return None;
        }
        let child = Command::new(path).arg(argument).stdin(Stdio::null()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let wanted = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = rustix::process::waitid(WaitId::Pid(pid), wanted).unwrap().unwrap();
        assert!(status.stopped(), "{argument}: {status:?}");
        let process = format!("/proc/{}", child.id());
        let maps = fs::read_to_string(format!("{process}/maps")).unwrap().lines().map(mapped).collect();
        let memory = File::open(format!("{process}/mem")).unwrap();
        let mut stopped = Self { child, maps, memory, numbers: [0; 17], backtrace: Vec::new() };
        stopped.ask_gdb();
        Some(stopped)
    }

    fn ask_gdb(&mut self) {
        let output = Command::new("gdb")
            // Without debug files: it would show inlined functions, which are no frames.
            .args(["-nx", "-iex", "set debug-file-directory /nonexistent", "-batch"])
            .args(["-ex", "set debuginfod enabled off", "-ex", "set width 0"])
            .args([
                "-ex",
                "set backtrace past-main on",
                "-ex",
                "info registers",
                "-ex",
                "set print address on",
            ])
            .args([
                "-ex",
                "set print symbol-filename off",
                "-ex",
                "bt -frame-info location-and-address",
                "-p",
            ])
            .arg(self.child.id().to_string())
            .env_remove("DEBUGINFOD_URLS")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let order = [
            "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13",
            "r14", "r15", "rip",
        ];
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [name, value, ..] = words[..]
                && let Some(number) = order.iter().position(|register| *register == name)
            {
                self.numbers[number] = hexadecimal(value);
            }
            // "#3  0x000055… in outer ()", and without the address for the innermost and for signal handlers.
            if line.starts_with('#') {
                let at =
                    words.get(1).filter(|word| word.starts_with("0x")).map_or(0, |word| hexadecimal(word));
                let name = if at == 0 { words.get(1) } else { words.get(3) };
                self.backtrace.push((at, name.unwrap_or(&"").to_string()));
            }
        }
        assert!(!self.backtrace.is_empty(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    }

    pub(super) fn regs(&self) -> Regs {
        let [sp, fp, bx, pc] = [7, 6, 3, 16].map(|number: usize| self.numbers[number]);
        Regs { pc: CodeAddr::Interrupted(RuntimeAddr(pc)), sp, fp, lr: 0, bx }
    }

    pub(super) fn leaf_register(&self, number: u8) -> Option<u64> {
        self.numbers[..16].get(usize::from(number)).copied()
    }

    pub(super) fn read(&self, at: u64) -> Option<u64> {
        let mut word = [0; 8];
        self.memory.read_exact_at(&mut word, at).ok().map(|()| u64::from_le_bytes(word))
    }

    pub(super) fn bytes(&self, mapped: &Mapped) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(mapped.end - mapped.start).unwrap()];
        self.memory.read_exact_at(&mut bytes, mapped.start).unwrap();
        bytes
    }

    pub(super) fn code_at(&self, at: u64) -> Option<&Mapped> {
        self.maps.iter().find(|mapped| mapped.executable && (mapped.start..mapped.end).contains(&at))
    }
}

pub(super) fn mapped(line: &str) -> Mapped {
    let mut words = line.split_whitespace();
    let (start, end) = words.next().unwrap().split_once('-').unwrap();
    let executable = words.next().unwrap().contains('x');
    let offset = hexadecimal(words.next().unwrap());
    let path = words.nth(2).unwrap_or("").to_owned();
    Mapped { start: hexadecimal(start), end: hexadecimal(end), offset, executable, path }
}
