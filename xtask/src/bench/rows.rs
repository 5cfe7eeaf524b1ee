//! What the unwind rows of well-known files take: bytes, and CPU time to make them.
//!
//! `profiler-user/examples/unwind_rows.rs` makes them, by the code that the product makes them by.

use super::figures::{Figure, Target};
use super::running::Running;
use super::{Measured, Setting};
use crate::shell;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// For files whose rows are made several times on a machine that is otherwise busy.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the example says of a file.
#[derive(Deserialize)]
struct Rows {
    text_bytes: f64,
    rows: f64,
    bytes: f64,
    cpu_millis: Vec<f64>,
}

/// A file that many processes map, and the CPU time that its rows may take.
struct Known {
    name: &'static str,
    file: Option<PathBuf>,
    cpu_millis: Target,
}

pub(super) async fn measure(setting: &Setting<'_>) -> Result<Measured> {
    let mut figures = Vec::new();
    let mut about = Vec::new();
    for known in known_files() {
        let Some(file) = known.file else {
            about.push(format!("There is no {} here.", known.name));
            continue;
        };
        about.push(format!("{}: {}", known.name, file.display()));
        let rows = rows_of(setting, &file).await?;
        figures.extend(of_file(known.name, known.cpu_millis, rows));
    }
    Ok(Measured { about, figures })
}

fn of_file(name: &str, cpu_millis: Target, rows: Rows) -> [Figure; 4] {
    let text_mib = rows.text_bytes / 1_048_576.0;
    [
        Figure::new(format!("{name}: rows"), 0, vec![rows.rows]),
        Figure::new("… bytes a row", 2, vec![rows.bytes / rows.rows]),
        Figure::new("… KiB a MiB of text", 1, vec![rows.bytes / 1024.0 / text_mib]),
        Figure::new("… CPU to make them, ms", 1, rows.cpu_millis).judged(cpu_millis),
    ]
}

async fn rows_of(setting: &Setting<'_>, file: &Path) -> Result<Rows> {
    let said = setting.folder.join("rows.json");
    let mut command = Command::new(setting.rows_table);
    command.args(["--json", "--rounds", &setting.rounds.to_string()]).arg(file);
    command.stdin(Stdio::null()).stdout(File::create(&said)?);
    if !Running::start("unwind_rows", &mut command)?.has_succeeded(PATIENCE).await? {
        bail!("unwind_rows cannot read {}", file.display());
    }
    serde_json::from_str(&fs::read_to_string(&said)?).with_context(|| format!("rows of {}", file.display()))
}

fn known_files() -> [Known; 5] {
    let print_maps = ["-c", "print(open('/proc/self/maps').read())"];
    let node_maps = ["-e", "process.stdout.write(require('fs').readFileSync('/proc/self/maps'))"];
    [
        Known {
            name: "libc",
            file: fs::read_to_string("/proc/self/maps").ok().and_then(|maps| mapped(&maps, "libc")),
            cpu_millis: Target::None,
        },
        Known { name: "python3", file: largest_text("python3", &print_maps), cpu_millis: Target::None },
        Known { name: "libjvm", file: libjvm(), cpu_millis: Target::AtMost(150.0) },
        Known { name: "node", file: largest_text("node", &node_maps), cpu_millis: Target::AtMost(300.0) },
        Known { name: "rustc's driver", file: rustc_driver(), cpu_millis: Target::None },
    ]
}

/// The interpreter itself, which is in a library on some systems: what most of the program's code is in.
fn largest_text(program: &str, print_maps: &[&str]) -> Option<PathBuf> {
    let maps = shell::output(Command::new(shell::find_program(program)?).args(print_maps)).ok()?;
    let largest = text_bytes(&maps).into_iter().max_by_key(|&(_, bytes)| bytes)?;
    Some(PathBuf::from(largest.0))
}

/// The first mapped file whose name begins so, up to a dot or a dash.
fn mapped(maps: &str, name: &str) -> Option<PathBuf> {
    let is_it = |path: &&str| {
        let file = path.rsplit('/').next().unwrap_or(path);
        file.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', '-']))
    };
    text_bytes(maps).into_keys().find(is_it).map(PathBuf::from)
}

/// Executable bytes of each file in the text of /proc/PID/maps.
fn text_bytes(maps: &str) -> BTreeMap<&str, u64> {
    let mut found = BTreeMap::new();
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (Some(range), Some(rights), Some(path)) = (fields.next(), fields.next(), fields.nth(3)) else {
            continue;
        };
        if rights.contains('x')
            && path.starts_with('/')
            && let Some((start, end)) = range.split_once('-')
            && let (Ok(start), Ok(end)) = (u64::from_str_radix(start, 16), u64::from_str_radix(end, 16))
        {
            *found.entry(path).or_default() += end.saturating_sub(start);
        }
    }
    found
}

fn libjvm() -> Option<PathBuf> {
    let java = fs::canonicalize(shell::find_program("java")?).ok()?;
    let file = java.parent()?.parent()?.join("lib/server/libjvm.so");
    file.is_file().then_some(file)
}

fn rustc_driver() -> Option<PathBuf> {
    let sysroot = shell::output(Command::new("rustc").args(["--print", "sysroot"])).ok()?;
    let files = fs::read_dir(Path::new(sysroot.trim()).join("lib")).ok()?.flatten();
    files.map(|file| file.path()).find(|path| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"librustc_driver-"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
1000-2000 r-xp 00001000 fe:00 18500   /usr/bin/python3.11
1000-9000 r--p 00001000 fe:00 18501   /usr/lib/libc.so.6
4000-6000 r-xp 00003000 fe:00 18502   /usr/lib/libcrypt.so.1
6000-6800 r-xp 00003000 fe:00 18501   /usr/lib/libc.so.6
7000-a000 r-xp 00003000 fe:00 18503   /usr/lib/libpython3.11.so.1.0
b000-f000 r-xp 00000000 00:00 0       [vdso]
";

    #[test]
    fn the_executable_bytes_of_files_are_summed_up() {
        let largest = text_bytes(MAPS).into_iter().max_by_key(|&(_, bytes)| bytes);
        assert_eq!(largest, Some(("/usr/lib/libpython3.11.so.1.0", 0x3000)));
        assert_eq!(text_bytes(MAPS).len(), 4);
    }

    #[test]
    fn a_library_is_found_by_its_whole_name() {
        assert_eq!(mapped(MAPS, "libc"), Some("/usr/lib/libc.so.6".into()));
        assert_eq!(mapped(MAPS, "libpyth"), None);
    }

    #[test]
    fn bytes_are_told_by_row_and_by_text() {
        let rows = Rows { text_bytes: 2_097_152.0, rows: 1000.0, bytes: 4096.0, cpu_millis: vec![9.0, 7.0] };
        let values = of_file("x", Target::AtMost(8.0), rows).map(|figure| figure.flamekeeper);
        assert_eq!(values, [vec![1000.0], vec![4.096], vec![2.0], vec![9.0, 7.0]]);
    }
}
