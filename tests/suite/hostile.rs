//! Files that are no honest programs, mapped as code by a process that runs them: the capture goes on and the
//! frames are kept under the file's name.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Result, ensure};
use profiler_tests::{Capture, Captured, Machine, Stacks, Workload, machine_or_skip};

const CODE_OFFSET: u64 = 0x2000;

/// `record -F 499 -d 1s` of a process that runs a page of `file`, as folded stacks.
fn stacks_with(machine: &Machine, file: &Path) -> Result<Stacks> {
    captured_with(machine, file)?.folded("p.folded")
}

fn captured_with(machine: &Machine, file: &Path) -> Result<Captured> {
    let offset = CODE_OFFSET.to_string();
    let running = Workload::build("c_strange_map")?.args([file.as_os_str(), offset.as_ref()]).start()?;
    let capture = Capture::record(machine)?.args(["-F", "499", "-d", "1s"]).of(running.pid());
    let captured = capture.output("p.folded").output("p.pb.gz").output("p.json").run()?.expect_code(0)?;
    ensure!(captured.lines_with("error").is_empty(), "{}", captured.stderr);
    // Both readers check every index, and that addresses lie in their mappings.
    captured.pprof("p.pb.gz")?;
    captured.firefox("p.json")?;
    Ok(captured)
}

/// Fails unless the code in the file is there, by offset, below the function that called it.
fn kept(stacks: &Stacks, name: &str) -> Result<()> {
    stacks.ensure_share_at_least(&["main", "run_mapped", &format!("*{name}+0x*")], 0.9)
}

/// An ELF header for this machine with the given tables, everything else honest.
fn elf_header(program_headers: (u64, u16), section_headers: (u64, u16), section_names: u16) -> Vec<u8> {
    let machine: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    let mut header = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    header.extend(3u16.to_le_bytes()); // a shared object
    header.extend(machine.to_le_bytes());
    header.extend(1u32.to_le_bytes());
    header.extend(0u64.to_le_bytes()); // entry
    header.extend(program_headers.0.to_le_bytes());
    header.extend(section_headers.0.to_le_bytes());
    header.extend(0u32.to_le_bytes()); // flags
    for half in [64, 56, program_headers.1, 64, section_headers.1, section_names] {
        header.extend(half.to_le_bytes());
    }
    header
}

#[test]
fn a_file_that_is_no_program_keeps_its_frames() -> Result<()> {
    let machine = machine_or_skip!();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("text.txt");
    std::fs::write(&path, "no program\n".repeat(2000))?;
    kept(&stacks_with(&machine, &path)?, "text.txt")
}

#[test]
fn an_empty_header_keeps_its_frames() -> Result<()> {
    let machine = machine_or_skip!();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("zeroes.bin");
    std::fs::write(&path, vec![0; 0x4000])?;
    kept(&stacks_with(&machine, &path)?, "zeroes.bin")
}

#[test]
fn a_sparse_file_of_four_gigabytes_is_not_read_whole() -> Result<()> {
    let machine = machine_or_skip!();
    let folder = tempfile::tempdir_in(profiler_tests::build_folder()?)?;
    let path = folder.path().join("sparse.so");
    let file = File::create(&path)?;
    // Section headers at the very end, so that a reader has reason to go there.
    let length: u64 = 4 << 30;
    file.set_len(length)?;
    file.write_all_at(&elf_header((64, 1), (length - 64 * 16, 16), 15), 0)?;
    drop(file);
    kept(&stacks_with(&machine, &path)?, "sparse.so")
}

#[test]
fn headers_that_point_anywhere_are_survived() -> Result<()> {
    let machine = machine_or_skip!();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("liar.so");
    let mut file = File::create(&path)?;
    file.write_all(&elf_header((u64::MAX - 8, u16::MAX), (u64::MAX - 64, u16::MAX), u16::MAX))?;
    file.set_len(0x4000)?;
    drop(file);
    kept(&stacks_with(&machine, &path)?, "liar.so")
}

#[test]
fn sections_that_claim_the_world_are_survived() -> Result<()> {
    let machine = machine_or_skip!();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("greedy.so");
    let mut bytes = elf_header((64, 1), (0x1000, 8), 1);
    // One program header: code, all of the address space.
    bytes.extend([1u32.to_le_bytes(), 5u32.to_le_bytes()].concat());
    for word in [0, 0, 0, u64::MAX, u64::MAX, 0x1000] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.resize(0x1000, 0);
    // Eight section headers: symbol tables, string tables, notes and compressed debug data of endless size.
    for kind in [0u32, 3, 2, 11, 7, 1, 1, 1] {
        bytes.extend([kind.to_le_bytes(), kind.to_le_bytes()].concat());
        for word in [0x800, 0, 0x1000, u64::MAX - 0x1000, 1 << 32, 1, 24] {
            bytes.extend(word.to_le_bytes());
        }
    }
    bytes.resize(0x4000, 0xff);
    std::fs::write(&path, bytes)?;
    kept(&stacks_with(&machine, &path)?, "greedy.so")
}

#[test]
fn half_a_program_is_survived() -> Result<()> {
    let machine = machine_or_skip!();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("half");
    let whole = std::fs::read(Workload::build("c_frame_pointers")?.path())?;
    std::fs::write(&path, whole.get(..0x9000).unwrap_or_default())?;
    kept(&stacks_with(&machine, &path)?, "half")
}

#[test]
fn a_file_without_usable_unwind_information_is_told_with_its_reason() -> Result<()> {
    let machine = machine_or_skip!();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("crowded.so");
    let mut bytes = std::fs::read(Workload::build("c_frame_pointers")?.path())?;
    bytes.resize(bytes.len().max(0x40000), 0);
    // e_shnum: more sections than any real file has.
    bytes.splice(60..62, 60_000u16.to_le_bytes());
    std::fs::write(&path, bytes)?;
    let captured = captured_with(&machine, &path)?;
    kept(&captured.folded("p.folded")?, "crowded.so")?;
    let comments = captured.pprof("p.pb.gz")?.comments;
    let told = |line: &&String| line.contains("crowded.so: ") && line.contains("60000");
    ensure!(comments.iter().any(|line| told(&line)), "{comments:#?}");
    Ok(())
}

/// The code is not what the file's own unwind information describes, so by that the walk ends at it.
#[test]
fn a_file_that_is_cut_while_it_is_mapped_is_survived() -> Result<()> {
    let machine = machine_or_skip!();
    for (walk, expected) in [("frame-pointers", &["main", "run_mapped", "*"][..]), ("rows", &["*"])] {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("shrinking.so");
        let mut bytes = std::fs::read(Workload::build("c_frame_pointers")?.path())?;
        bytes.resize(bytes.len().max(0x40000), 0);
        std::fs::write(&path, bytes)?;
        let offset = CODE_OFFSET.to_string();
        let running = Workload::build("c_strange_map")?.args([path.as_os_str(), offset.as_ref()]).start()?;
        let capture = Capture::record(&machine)?.args(["--unwind", walk, "-F", "499", "-d", "2s"]);
        let capture = capture.of(running.pid()).output("p.folded").start()?;
        capture.samples()?;
        running.works_on(4)?;
        // The page with the code stays; sections and symbols, which a reader may have mapped by now, go.
        File::options().write(true).open(&path)?.set_len(CODE_OFFSET + 0x1000)?;
        running.works_on(4)?;
        let stacks = capture.finish()?.expect_code(0)?.folded("p.folded")?;
        stacks.ensure_share_at_least(expected, 0.9)?;
    }
    Ok(())
}
