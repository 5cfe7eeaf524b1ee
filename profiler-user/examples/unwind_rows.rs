//! ELF files → what their unwind rows take, as a table or as JSON, one line a file:
//! `cargo run --release --example unwind_rows -- [--json] [--rounds N] FILE…`
#![expect(clippy::print_stdout, reason = "a table on the terminal is all it is for")]

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use profiler_common::unwind_rule::Unsupported;
use profiler_user::elf::ElfHeaders;
use profiler_user::host::MonotonicNanos;
use profiler_user::unwind::cache::{CACHE_BYTES_MAX, CacheKey, RowCache};
use profiler_user::unwind::{Budget, FileRows, RowStats, RuleTable, read_rows};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

#[derive(Parser)]
struct Args {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// How often each file is read, for its CPU time
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// One file.
#[derive(Serialize)]
struct Rows {
    file: String,
    text_bytes: u64,
    functions: usize,
    rows: usize,
    bytes: usize,
    /// Distinct ones of this file, and of all files up to this one.
    rules: usize,
    all_rules: usize,
    /// By round.
    cpu_millis: Vec<f64>,
    /// In the cache on disk, and the CPU time of reading it from there, by round.
    cached_bytes: u64,
    cached_millis: Vec<f64>,
    unsupported: String,
    functions_malformed: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if !args.json {
        println!(
            "| file | text MiB | functions | rows | rules | all rules | bytes a row | KiB a MiB of text | CPU ms | from the cache KiB | ms | unsupported |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    }
    let mut table = RuleTable::new();
    for path in &args.files {
        let rows = measure(path, args.rounds, &mut table).with_context(|| path.display().to_string())?;
        if args.json { println!("{}", serde_json::to_string(&rows)?) } else { print(&rows) }
    }
    Ok(())
}

fn measure(path: &Path, rounds: u32, table: &mut RuleTable) -> Result<Rows> {
    let file = File::open(path)?;
    let headers = ElfHeaders::read(&file)?;
    let mut cpu_millis = Vec::new();
    let mut rows = read_rows(&file, &headers, Budget::default())?; // its pages are in the cache from here on
    for _ in 0..rounds {
        let before = cpu_micros();
        rows = read_rows(&file, &headers, Budget::default())?;
        cpu_millis.push((cpu_micros() - before) as f64 / 1000.0);
    }
    rows.pages().iter().for_each(|page| drop(table.take_page(&rows, page.number, MonotonicNanos(0))));
    let (cached_bytes, cached_millis) = cached(&file, &headers, &rows, rounds)?;
    let stats = rows.stats();
    Ok(Rows {
        file: path.file_name().unwrap_or(path.as_os_str()).display().to_string(),
        text_bytes: stats.text_bytes,
        functions: stats.functions,
        rows: stats.rows,
        bytes: stats.bytes(),
        rules: stats.rules,
        all_rules: table.rules().len(),
        cpu_millis,
        cached_bytes,
        cached_millis,
        unsupported: unsupported(stats),
        functions_malformed: stats.functions_malformed,
    })
}

/// Bytes in the cache, and the CPU time of each reading.
fn cached(file: &File, headers: &ElfHeaders, rows: &FileRows, rounds: u32) -> Result<(u64, Vec<f64>)> {
    let folder = std::env::temp_dir().join(format!("unwind-rows-{}", std::process::id()));
    let mut cache = RowCache::open(&folder, CACHE_BYTES_MAX)?;
    let key = CacheKey::new(headers, &file.metadata()?);
    cache.keep(&key, rows);
    let mut millis = Vec::new();
    for _ in 0..rounds {
        let before = cpu_micros();
        let read = cache.load(&key).context("it was not kept")?;
        millis.push((cpu_micros() - before) as f64 / 1000.0);
        anyhow::ensure!(read == *rows, "other rows came back");
    }
    let bytes = std::fs::read_dir(&folder)?.map(|entry| Ok(entry?.metadata()?.len())).sum::<Result<u64>>()?;
    std::fs::remove_dir_all(&folder)?;
    Ok((bytes, millis))
}

fn unsupported(stats: &RowStats) -> String {
    let reasons = Unsupported::ALL.into_iter().filter(|why| stats.unsupported(*why) > 0);
    reasons.map(|why| format!("{} {why:?}", stats.unsupported(why))).collect::<Vec<_>>().join(", ")
}

fn print(rows: &Rows) {
    let text_mib = rows.text_bytes as f64 / f64::from(1 << 20);
    let best = |millis: &[f64]| millis.iter().copied().fold(f64::INFINITY, f64::min);
    let malformed = match rows.functions_malformed {
        0 => String::new(),
        count => format!(" {count} malformed"),
    };
    println!(
        "| {} | {text_mib:.1} | {} | {} | {} | {} | {:.2} | {:.1} | {:.1} | {} | {:.1} | {}{malformed} |",
        rows.file,
        rows.functions,
        rows.rows,
        rows.rules,
        rows.all_rules,
        rows.bytes as f64 / rows.rows as f64,
        rows.bytes as f64 / 1024.0 / text_mib,
        best(&rows.cpu_millis),
        rows.cached_bytes / 1024,
        best(&rows.cached_millis),
        rows.unsupported,
    );
}

fn cpu_micros() -> i64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}
