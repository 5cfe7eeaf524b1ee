//! `cargo xtask vm`: the product on the kernels that people run, of both architectures, booted in an emulator.
//!
//! ```text
//!   wanted.rs ─ vm.lock ─▶ packages.rs ─▶ kernel.rs ──────────────┐
//!   programs.rs (flamekeeper, tests/guest, workloads) ─▶ image.rs ─┴▶ guest.rs ─▶ results.rs ─▶ report.rs: matrix, JUnit
//! ```
//!
//! Everything lies below `target/vm`; the console of each guest is kept there. Needs no root and no KVM.

mod arch;
mod cpio;
mod guest;
mod image;
mod kernel;
mod lock;
mod packages;
mod programs;
mod report;
mod results;
mod wanted;

use crate::dist::Compiler;
use crate::packages::{Need, install};
use crate::shell;
use crate::toolchain::Rustc;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use arch::Arch;
use guest::Boot;
use lock::Locked;
use packages::Packages;
use report::GuestReport;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use wanted::{BUSYBOX, KERNELS, Wanted};

const LOCK: &str = "xtask/vm.lock";

const NEEDS: [Need; 6] = [
    Need { package: "qemu-system-x86", program: Some("qemu-system-x86_64"), why: "guests of amd64" },
    Need { package: "qemu-system-arm", program: Some("qemu-system-aarch64"), why: "guests of arm64" },
    Need { package: "gcc", program: Some("gcc"), why: "workloads of amd64" },
    Need {
        package: "gcc-aarch64-linux-gnu",
        program: Some("aarch64-linux-gnu-gcc"),
        why: "workloads of arm64",
    },
    Need { package: "libc6-dev-arm64-cross", program: None, why: "workloads of arm64: their C library" },
    Need { package: "libc6-dev", program: None, why: "workloads of amd64: their C library" },
];

/// Loads and unloads in a guest.
const ROUNDS: u32 = 100;
const ROUNDS_IN_CI: u32 = 10;

/// An emulated CPU on a busy machine.
const DEADLINE: Duration = Duration::from_secs(1800);
const DEADLINE_IN_CI: Duration = Duration::from_secs(400);

/// The guests of `--ci`.
const IN_CI: [(&str, Arch); 3] = [("newest", Arch::X86_64), ("5.10", Arch::X86_64), ("6.1", Arch::Aarch64)];

#[derive(Default, clap::Args)]
pub(crate) struct Args {
    /// Only these kernels: 5.10, 6.1, 6.12, newest
    #[arg(long)]
    kernel: Vec<String>,
    /// Only these architectures
    #[arg(long, value_enum)]
    arch: Vec<Arch>,
    /// Only these tests
    #[arg(long)]
    test: Vec<String>,
    /// Loads and unloads [default: 100, with --ci 10]
    #[arg(long)]
    rounds: Option<u32>,
    /// What every change is tested on: three guests, fewer rounds
    #[arg(long)]
    ci: bool,
    /// A static flamekeeper to test instead of building one; its architecture is read from it
    #[arg(long, value_name = "PATH")]
    binary: Vec<PathBuf>,
    /// Look for newer packages and write the lock file; boots nothing
    #[arg(long)]
    update: bool,
}

/// A guest to boot.
type Pair = (&'static Wanted, Arch);

/// Boots every guest that was asked for and prints the matrix.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut packages = Packages::new(workspace)?;
    if args.update {
        return update(&mut packages, &workspace.path(LOCK));
    }
    let pairs = pairs(args)?;
    install(workspace, &NEEDS)?;
    let lock = locked(workspace)?;
    let mut guests = Vec::new();
    for arch in Arch::ALL {
        let of_arch: Vec<&Pair> = pairs.iter().filter(|(_, other)| *other == arch).collect();
        if of_arch.is_empty() {
            continue;
        }
        let files = programs::of(workspace, arch, &args.binary)?;
        let initramfs = image::make(workspace, &mut packages, &lock, arch, &files)?;
        for (wanted, _) in of_arch {
            guests.push(boot(workspace, &mut packages, &lock, (wanted, arch), &initramfs, args)?);
        }
    }
    finish(workspace, &guests)
}

/// As on every change; gives why nothing was booted where the machine cannot.
pub(crate) fn run_in_ci(workspace: &Workspace) -> Result<Option<String>> {
    install(workspace, &NEEDS)?;
    let programs = NEEDS.iter().filter_map(|need| need.program).chain(["apt-get"]);
    let missing: Vec<&str> = programs.filter(|program| shell::find_program(program).is_none()).collect();
    if !missing.is_empty() {
        return Ok(Some(format!("skipped: not installed: {}", missing.join(", "))));
    }
    let args = Args { ci: true, ..Args::default() };
    // Without a mirror there is nothing to boot, or nothing to build it with, which is not the change's fault.
    if let Err(error) = fetch(workspace, &args) {
        return Ok(Some(format!("skipped: {error:#}")));
    }
    run(workspace, &args).map(|()| None)
}

/// Has kernels and compilers at hand before anything is built.
fn fetch(workspace: &Workspace, args: &Args) -> Result<()> {
    let rustc = Rustc::of(workspace)?;
    for arch in Arch::ALL {
        Compiler::of(workspace, &rustc, arch)?;
    }
    let mut packages = Packages::new(workspace)?;
    let lock = locked(workspace)?;
    let guests = pairs(args)?;
    let shells = Arch::ALL.map(|arch| (&BUSYBOX, arch));
    for (wanted, arch) in guests.into_iter().chain(shells) {
        packages.fetch(wanted, arch, &lock)?;
    }
    Ok(())
}

fn locked(workspace: &Workspace) -> Result<Vec<Locked>> {
    let file = workspace.path(LOCK);
    lock::parse(&fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?)
}

fn pairs(args: &Args) -> Result<Vec<Pair>> {
    for name in &args.kernel {
        ensure!(
            KERNELS.iter().any(|kernel| kernel.what == name),
            "no kernel {name}: there are {}",
            KERNELS.map(|kernel| kernel.what).join(", ")
        );
    }
    let is_wanted = |kernel: &Wanted, arch: Arch| {
        (args.kernel.is_empty() || args.kernel.iter().any(|name| name == kernel.what))
            && (args.arch.is_empty() || args.arch.contains(&arch))
            && (!args.ci || IN_CI.contains(&(kernel.what, arch)))
    };
    let all = KERNELS.iter().flat_map(|kernel| Arch::ALL.map(|arch| (kernel, arch)));
    let pairs: Vec<Pair> = all.filter(|(kernel, arch)| is_wanted(kernel, *arch)).collect();
    ensure!(!pairs.is_empty(), "nothing is left to boot");
    Ok(pairs)
}

fn boot(
    workspace: &Workspace,
    packages: &mut Packages<'_>,
    lock: &[Locked],
    (wanted, arch): Pair,
    initramfs: &Path,
    args: &Args,
) -> Result<GuestReport> {
    let (package, locked) = packages.fetch(wanted, arch, lock)?;
    let kernel = kernel::unpacked(workspace, &package, &locked)?;
    let name = format!("{}-{}", wanted.what, arch.debian());
    println!("== {name}: {}", locked.full_name());
    let log = workspace.target().join(format!("vm/{name}.log"));
    let rounds = args.rounds.unwrap_or(if args.ci { ROUNDS_IN_CI } else { ROUNDS });
    let boot = Boot {
        arch,
        image: &kernel.image,
        initramfs,
        settings: &[format!("GUEST_ROUNDS={rounds}"), format!("GUEST_LACKS={}", wanted.lacks)],
        tests: &args.test,
        log: &log,
        deadline: if args.ci { DEADLINE_IN_CI } else { DEADLINE },
    };
    let said = boot.run().with_context(|| format!("boot {name}"))?;
    let results = results::read(&said.lines, said.exit);
    let report = GuestReport {
        kernel: wanted.what.to_owned(),
        arch: arch.debian(),
        version: locked.version,
        took: said.took,
        results,
    };
    if report.failures().next().is_some() {
        println!("the end of {}:", log.display());
        let skipped = said.lines.len().saturating_sub(LINES_SHOWN);
        said.lines.iter().skip(skipped).for_each(|line| println!("  {line}"));
    }
    Ok(report)
}

/// Of the console of a guest that failed.
const LINES_SHOWN: usize = 80;

fn finish(workspace: &Workspace, guests: &[GuestReport]) -> Result<()> {
    let junit = workspace.target().join("vm/junit.xml");
    fs::write(&junit, report::junit(guests)).with_context(|| format!("write {}", junit.display()))?;
    let table = report::table(guests);
    let matrix = workspace.target().join("vm/matrix.txt");
    fs::write(&matrix, &table).with_context(|| format!("write {}", matrix.display()))?;
    println!("\n{table}");
    let failed: Vec<String> = guests
        .iter()
        .flat_map(|guest| {
            guest.failures().map(|test| format!("{} {} {}", guest.kernel, guest.arch, test.name))
        })
        .collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn update(packages: &mut Packages<'_>, lock_file: &Path) -> Result<()> {
    let mut all = Vec::new();
    for wanted in KERNELS.iter().chain([&BUSYBOX]) {
        for arch in Arch::ALL {
            all.push(packages.newest(wanted, arch)?);
        }
    }
    let text = lock::format(&all);
    fs::write(lock_file, &text).with_context(|| format!("write {}", lock_file.display()))?;
    print!("{text}");
    Ok(())
}
