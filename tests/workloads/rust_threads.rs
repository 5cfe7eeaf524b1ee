// build: -O -C debuginfo=1 -C force-frame-pointers=no
//! Two threads of the standard library, each with an inlined function in its hot path.
//! usage: rust_threads

use std::hint::black_box;
use std::io::Write;

#[inline(always)]
fn mixed(mut value: u64, steps: u64) -> u64 {
    for _ in 0..steps {
        value ^= value << 13;
        value ^= value >> 7;
        value ^= value << 17;
    }
    value
}

#[inline(never)]
fn inner_work(value: u64) -> u64 {
    mixed(value | 1, 4_000_000)
}

#[inline(never)]
fn outer_work(value: u64) -> u64 {
    black_box(inner_work(black_box(value))) + 1
}

#[inline(never)]
fn worker(seed: u64) {
    let mut value = seed;
    loop {
        value = black_box(outer_work(value));
    }
}

fn main() {
    let threads: Vec<_> = (1..3).map(|seed| std::thread::spawn(move || worker(seed))).collect();
    let mut out = std::io::stdout();
    writeln!(out, "ready").unwrap();
    for thread in threads {
        thread.join().unwrap();
    }
}
