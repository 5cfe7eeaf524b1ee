//! ELF files → a table of what their unwind rows take: `cargo run --release --example unwind_rows -- FILE…`
#![expect(clippy::print_stdout, reason = "a table on the terminal is all it is for")]

use std::fs::File;

use anyhow::{Context, Result};
use profiler_common::unwind_rule::Unsupported;
use profiler_user::elf::ElfHeaders;
use profiler_user::unwind::{Budget, RuleTable, read_rows};
use rustix::time::{ClockId, clock_gettime};

fn cpu_micros() -> i64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

fn main() -> Result<()> {
    println!(
        "| file | text MiB | functions | rows | rules | all rules | bytes a row | KiB a MiB of text | CPU ms | unsupported |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
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
        let stats = rows.stats();
        let text = stats.text_bytes as f64 / f64::from(1 << 20);
        let unsupported: Vec<String> = Unsupported::ALL
            .into_iter()
            .filter(|why| stats.unsupported(*why) > 0)
            .map(|why| format!("{} {why:?}", stats.unsupported(why)))
            .collect();
        println!(
            "| {} | {text:.1} | {} | {} | {} | {} | {:.2} | {:.1} | {:.1} | {}{} |",
            path.rsplit('/').next().unwrap_or(&path),
            stats.functions,
            stats.rows,
            stats.rules,
            table.rules().len(),
            stats.bytes() as f64 / stats.rows as f64,
            stats.bytes() as f64 / 1024.0 / text,
            best as f64 / 1000.0,
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
