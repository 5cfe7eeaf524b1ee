//! The process that reads debug information: confines itself, asks blazesym, answers, ends.
//!
//! Its stdin is the socket of the conversation, its stdout the ELF file, open for reading only.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer};
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::answer::{Answer, Request};
use super::declarations::{BeginLines, DebugInformation};
use super::{CodeAt, Inlined, SourceLine};
use crate::elf::ElfHeaders;
use crate::elf::sections::Sections;
use crate::host::{Clock, ProcFs};
use crate::symbolize::error::SymbolizeError;
use crate::symbolize::spans::alone;

/// 20 times what all of glibc's or the kernel's debug information takes.
pub(super) const CPU_SECONDS_MAX: u64 = 5;
/// Decompressed sections and blazesym's tables. A mapped file does not count.
const HEAP_BYTES_MAX: u64 = 1 << 30;
/// stdin, stdout, stderr, and blazesym's handles on the one file.
const OPEN_FILES_MAX: u64 = 16;
/// A million addresses.
const REQUEST_BYTES_MAX: u64 = 32 << 20;

/// Answers one [`super::DebugReader`] on stdin about the file on stdout. For `main`, when started to be the reader.
///
/// On an error nothing was answered, which the other side takes for a file without debug information. Hostile files
/// may also end the process by signal or panic; it has nothing to clean up.
pub fn serve(procfs: &ProcFs) -> Result<(), SymbolizeError> {
    let failed = |why: &str| {
        let why = why.to_owned();
        move |source| SymbolizeError::Dwarf { why, source: Some(source) }
    };
    let socket = io::stdin().as_fd().try_clone_to_owned().map_err(failed("duplicate stdin"))?;
    let elf = io::stdout().as_fd().try_clone_to_owned().map_err(failed("duplicate stdout"))?;
    let (mut socket, elf) = (File::from(socket), File::from(elf));
    limit().map_err(failed("set limits"))?;
    let (path, is_alone) = shut_in(procfs).map_err(failed("give up rights"))?;
    if !is_alone {
        let headers = ElfHeaders::read(&elf)?;
        if Sections::read(&elf, &headers)?.points_elsewhere() {
            let why =
                "the file points to another, and there is no right to be shut in (CAP_SYS_CHROOT)".to_owned();
            return Err(SymbolizeError::Dwarf { why, source: None });
        }
    }
    let mut request = Vec::new();
    (&mut socket).take(REQUEST_BYTES_MAX).read_to_end(&mut request).map_err(failed("read the request"))?;
    let malformed = |error: serde_json::Error| SymbolizeError::Dwarf { why: error.to_string(), source: None };
    let request: Request = serde_json::from_slice(&request).map_err(malformed)?;
    let mut answer = answer(&path, &elf, &request);
    answer.cpu_nanos = u64::try_from(Clock::host().own_cpu().as_nanos()).unwrap_or(u64::MAX);
    let answer = serde_json::to_vec(&answer).map_err(malformed)?;
    socket.write_all(&answer).map_err(failed("answer"))
}

/// What was asked for, and the rest of the functions there.
fn answer(path: &Path, elf: &File, request: &Request) -> Answer {
    // Bounds of functions and lines of declarations are additions: without them the rest still is an answer.
    let information = DebugInformation::load(elf).ok();
    let functions = information.as_ref().filter(|_| request.ranges_max > 0);
    let functions = functions.map(|known| known.functions_around(&request.at, request.ranges_max));
    let ranges = with_addresses(functions.unwrap_or_default(), &request.at);
    let starts: Vec<u64> = ranges.iter().map(|range| range.start).collect();
    let mut answers = look_up(path, &starts);
    if let Some(information) = information {
        add_begin_lines(&mut answers, &information.begin_lines(&starts));
    }
    Answer::new(ranges.into_iter().zip(answers))
}

/// Cuts ranges at addresses, so that each is looked up itself; an address outside all of them becomes one. Both must be
/// sorted.
fn with_addresses(ranges: Vec<Range<u64>>, at: &[u64]) -> Vec<Range<u64>> {
    let mut cut: Vec<Range<u64>> = Vec::with_capacity(ranges.len() + at.len());
    let mut left = at.iter().copied().peekable();
    for range in ranges {
        while let Some(outside) = left.next_if(|at| *at < range.start) {
            cut.push(alone(outside));
        }
        let mut start = range.start;
        while let Some(inside) = left.next_if(|at| *at < range.end) {
            if inside > start {
                cut.push(start..inside);
                start = inside;
            }
        }
        cut.push(start..range.end);
    }
    cut.extend(left.map(alone));
    cut.dedup();
    cut
}

fn limit() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    for (resource, maximum) in [
        (Resource::Data, HEAP_BYTES_MAX),
        (Resource::Cpu, CPU_SECONDS_MAX),
        (Resource::Nofile, OPEN_FILES_MAX),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
    ] {
        rustix::process::setrlimit(resource, Rlimit { current: Some(maximum), maximum: Some(maximum) })?;
    }
    Ok(())
}

/// Makes the folder of our own open files the root, so that no path leads anywhere else, and gives up all
/// rights but the one to read the file. Path of the ELF file, and whether the root could be changed.
fn shut_in(procfs: &ProcFs) -> io::Result<(PathBuf, bool)> {
    let is_alone = std::os::unix::fs::chroot(procfs.path("self/fd")).is_ok();
    let path = if is_alone {
        std::env::set_current_dir("/")?;
        PathBuf::from("/1")
    } else {
        procfs.path("self/fd/1")
    };
    rustix::thread::set_no_new_privs(true)?;
    let kept = rustix::thread::capabilities(None)?.permitted & CapabilitySet::DAC_READ_SEARCH;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets)?;
    Ok((path, is_alone))
}

/// Looks addresses up; what blazesym cannot read is unknown.
fn look_up(path: &Path, at: &[u64]) -> Vec<Option<CodeAt>> {
    let symbolizer = Symbolizer::builder()
        .enable_auto_reload(false)
        .enable_demangling(false)
        .set_debug_dirs(Some(std::iter::empty::<PathBuf>()))
        .build();
    let source = Source::Elf(Elf::new(path));
    all(&symbolizer, &source, at).iter().zip(at).map(|(sym, at)| code_at(sym.as_ref()?, *at)).collect()
}

/// All at once; one by one if a damaged part of the file fails them together.
fn all<'a>(symbolizer: &'a Symbolizer, source: &Source<'_>, at: &[u64]) -> Vec<Option<Sym<'a>>> {
    match symbolizer.symbolize(source, Input::VirtOffset(at)) {
        Ok(found) => found.into_iter().map(known).collect(),
        Err(_) => {
            let single =
                |at: &u64| symbolizer.symbolize_single(source, Input::VirtOffset(*at)).ok().and_then(known);
            at.iter().map(single).collect()
        }
    }
}

/// Both lists of functions are outermost first. If they differ, only the outermost surely is the same.
fn add_begin_lines(answer: &mut [Option<CodeAt>], begin_lines: &[BeginLines]) {
    for (code, lines) in answer.iter_mut().zip(begin_lines) {
        let (Some(code), Some((outermost, inlined))) = (code, lines.split_first()) else { continue };
        code.begin_line = *outermost;
        if inlined.len() == code.inlined.len() {
            code.inlined.iter_mut().zip(inlined).for_each(|(function, line)| function.begin_line = *line);
        }
    }
}

fn known(symbolized: Symbolized<'_>) -> Option<Sym<'_>> {
    match symbolized {
        Symbolized::Sym(sym) => Some(sym),
        Symbolized::Unknown(_) => None,
    }
}

fn code_at(sym: &Sym<'_>, at: u64) -> Option<CodeAt> {
    // blazesym stretches symbols without a size to the next one.
    let bytes = sym.size.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
    let is_inside = at.checked_sub(sym.addr).is_some_and(|into| into < bytes);
    let code = CodeAt {
        name: if is_inside { sym.name.as_ref().into() } else { "".into() },
        at: source_line(sym.code_info.as_deref()),
        begin_line: 0,
        inlined: sym.inlined.iter().map(inlined).collect(),
    };
    (is_inside || sym.code_info.is_some()).then_some(code)
}

fn inlined(function: &blazesym::symbolize::InlinedFn<'_>) -> Inlined {
    Inlined {
        name: function.name.as_ref().into(),
        at: source_line(function.code_info.as_ref()),
        begin_line: 0,
    }
}

fn source_line(code: Option<&CodeInfo<'_>>) -> SourceLine {
    code.map_or_else(SourceLine::default, |code| SourceLine {
        file: code.to_path().to_string_lossy().into(),
        line: code.line.unwrap_or(0),
    })
}
