//! ELF files → a table of what their unwind rows take: `cargo run --release --example unwind_rows -- FILE…`
#![expect(clippy::print_stdout, reason = "a table on the terminal is all it is for")]

use std::fs::File;

use anyhow::{Context, Result};
use profiler_common::unwind_rule::Unsupported;
use profiler_user::elf::ElfHeaders;
use profiler_user::unwind::cache::{CACHE_BYTES_MAX, CacheKey, RowCache};
use profiler_user::unwind::{Budget, FileRows, RuleTable, read_rows};
use rustix::time::{ClockId, clock_gettime};

fn cpu_micros() -> i64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

/// KiB in the cache, and the least CPU time of five readings.
fn cached(file: &File, headers: &ElfHeaders, rows: &FileRows) -> Result<(u64, i64)> {
    let folder = std::env::temp_dir().join(format!("unwind-rows-{}", std::process::id()));
    let mut cache = RowCache::open(&folder, CACHE_BYTES_MAX)?;
    let key = CacheKey::new(headers, &file.metadata()?);
    cache.keep(&key, rows);
    let mut best = i64::MAX;
    for _ in 0..5 {
        let before = cpu_micros();
        let read = cache.load(&key).context("it was not kept")?;
        best = best.min(cpu_micros() - before);
        anyhow::ensure!(read == *rows, "other rows came back");
    }
    let kib =
        std::fs::read_dir(&folder)?.map(|entry| Ok(entry?.metadata()?.len() / 1024)).sum::<Result<u64>>()?;
    std::fs::remove_dir_all(&folder)?;
    Ok((kib, best))
}

fn main() -> Result<()> {
    println!(
        "| file | text MiB | functions | rows | rules | all rules | bytes a row | KiB a MiB of text | CPU ms | from the cache KiB | ms | unsupported |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut table = RuleTable::new();
    for path in std::env::args().skip(1) {
        let file = File::open(&path).with_context(|| path.clone())?;
        let headers = ElfHeaders::read(&file)?;
        let mut best = i64::MAX;
        let mut rows = None;
        for _ in 0..5 {
            let before = cpu_micros();
            rows = Some(read_rows(&file, &headers, Budget::default()).with_context(|| path.clone())?);
            best = best.min(cpu_micros() - before);
        }
        let Some(rows) = rows else { continue };
        rows.pages().iter().for_each(|page| drop(table.page_rows(&rows, page.number)));
        let (kept_kib, kept_micros) = cached(&file, &headers, &rows)?;
        let stats = rows.stats();
        let text = stats.text_bytes as f64 / f64::from(1 << 20);
        let unsupported: Vec<String> = Unsupported::ALL
            .into_iter()
            .filter(|why| stats.unsupported(*why) > 0)
            .map(|why| format!("{} {why:?}", stats.unsupported(why)))
            .collect();
        println!(
            "| {} | {text:.1} | {} | {} | {} | {} | {:.2} | {:.1} | {:.1} | {kept_kib} | {:.1} | {}{} |",
            path.rsplit('/').next().unwrap_or(&path),
            stats.functions,
            stats.rows,
            stats.rules,
            table.rules().len(),
            stats.bytes() as f64 / stats.rows as f64,
            stats.bytes() as f64 / 1024.0 / text,
            best as f64 / 1000.0,
            kept_micros as f64 / 1000.0,
            unsupported.join(", "),
            if stats.functions_malformed > 0 {
                format!(" {} malformed", stats.functions_malformed)
            } else {
                String::new()
            },
        );
    }
    Ok(())
}
