// build: -O -C debuginfo=1 -C force-frame-pointers=yes
//! A release binary whose hot code is inlined twice; the tests find the marked lines and expect them in profiles.
//! usage: rust_inlined [ROUNDS]

use std::io::Write;

#[inline(always)]
fn innermost(mut value: u64, steps: u64) -> u64 {
    let mut step = 0;
    while step < steps {
        value ^= value << 13; // mark: work begins
        value ^= value >> 7;
        value ^= value << 17;
        step += 1; // mark: work ends
    }
    value
}

#[inline(always)]
fn between(value: u64, steps: u64) -> u64 {
    innermost(value | 1, steps) // mark: innermost is called
}

#[inline(never)]
fn physical(value: u64) -> u64 {
    between(value, 4_000_000) // mark: between is called
}

fn main() {
    let rounds = std::env::args().nth(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(u64::MAX);
    let mut out = std::io::stdout();
    writeln!(out, "ready").unwrap();
    let mut value = 1;
    for round in 0..rounds {
        value = std::hint::black_box(physical(value));
        if round % 8 == 0 {
            writeln!(out, "tick {round}").unwrap();
        }
    }
}
