//! Reads the Firefox Profiler's processed format: per thread, the samples with their times and stacks.
//!
//! Understands what the format's version 55 says about samples, stacks, frames, functions and strings; the rest is
//! left alone. Every index is checked.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::stacks::{Stack, Stacks};

/// One thread.
#[derive(Clone, Debug)]
pub struct FirefoxThread {
    /// Its name.
    pub name: String,
    /// Name of its process.
    pub process: String,
    /// Process id, as text.
    pub pid: String,
    /// Thread id, as text.
    pub tid: String,
    /// Milliseconds since the profile's start, one a sample.
    pub times_millis: Vec<f64>,
    /// One entry a sample, each with the sample's weight as count.
    pub stacks: Stacks,
}

/// A profile.
#[derive(Clone, Debug)]
pub struct FirefoxProfile {
    /// Wall clock of the start, milliseconds since 1970.
    pub start_millis: f64,
    /// Milliseconds between samples.
    pub interval_millis: f64,
    /// All threads.
    pub threads: Vec<FirefoxThread>,
}

impl FirefoxProfile {
    /// Reads it and resolves the stacks.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let root: Value = serde_json::from_slice(bytes).context("parse JSON")?;
        let meta = root.get("meta").context("no meta")?;
        let threads = root.get("threads").and_then(Value::as_array).context("no threads")?;
        Ok(Self {
            start_millis: float(meta, "startTime")?,
            interval_millis: float(meta, "interval")?,
            threads: threads.iter().map(thread).collect::<Result<_>>()?,
        })
    }

    /// The samples of all threads of a process.
    pub fn stacks_of(&self, pid: u32) -> Stacks {
        let pid = pid.to_string();
        let threads = self.threads.iter().filter(|thread| thread.pid == pid);
        Stacks(threads.flat_map(|thread| thread.stacks.0.iter().cloned()).collect())
    }
}

fn thread(thread: &Value) -> Result<FirefoxThread> {
    let samples = thread.get("samples").context("no samples")?;
    let process = text(thread, "processName")?;
    let mut time = 0.0;
    let times_millis = column(samples, "timeDeltas")?
        .iter()
        .map(|delta| {
            time += delta.as_f64().context("a time is no number")?;
            Ok(time)
        })
        .collect::<Result<Vec<_>>>()?;
    let stacks = column(samples, "stack")?;
    let weights = column(samples, "weight")?;
    ensure!(stacks.len() == times_millis.len() && stacks.len() == weights.len(), "columns differ in length");
    let mut resolved = Vec::new();
    for (stack, weight) in stacks.iter().zip(weights) {
        let frames = match stack.as_u64() {
            Some(stack) => frames(thread, stack)?,
            None => Vec::new(),
        };
        let count = weight.as_u64().context("a weight is no count")?;
        resolved.push(Stack { process: process.clone(), frames, count });
    }
    Ok(FirefoxThread {
        name: text(thread, "name")?,
        process,
        pid: text(thread, "pid")?,
        tid: text(thread, "tid")?,
        times_millis,
        stacks: Stacks(resolved),
    })
}

/// Names of a stack, outermost first.
fn frames(thread: &Value, mut stack: u64) -> Result<Vec<String>> {
    let table = |name: &str| thread.get(name).with_context(|| format!("no {name}"));
    let (stacks, frames, functions) = (table("stackTable")?, table("frameTable")?, table("funcTable")?);
    let strings = column(thread, "stringArray")?;
    let mut names = Vec::new();
    loop {
        let frame = entry(stacks, "frame", stack)?.as_u64().context("no frame")?;
        let function = entry(frames, "func", frame)?.as_u64().context("no function")?;
        let name = entry(functions, "name", function)?.as_u64().context("no name")?;
        let name = usize::try_from(name).ok().and_then(|name| strings.get(name)).and_then(Value::as_str);
        names.push(name.context("a name is not in stringArray")?.to_owned());
        match entry(stacks, "prefix", stack)?.as_u64() {
            // Prefixes point backwards, so this ends.
            Some(prefix) if prefix < stack => stack = prefix,
            Some(prefix) => anyhow::bail!("stack {stack} hangs on {prefix}"),
            None => break,
        }
    }
    names.reverse();
    Ok(names)
}

fn column<'a>(table: &'a Value, name: &str) -> Result<&'a Vec<Value>> {
    table.get(name).and_then(Value::as_array).with_context(|| format!("no column {name}"))
}

fn entry<'a>(table: &'a Value, name: &str, at: u64) -> Result<&'a Value> {
    let found = usize::try_from(at).ok().and_then(|at| table.get(name)?.get(at));
    found.with_context(|| format!("{name} has no entry {at}"))
}

fn text(of: &Value, name: &str) -> Result<String> {
    let value = of.get(name).and_then(Value::as_str).with_context(|| format!("no text {name}"))?;
    Ok(value.to_owned())
}

fn float(of: &Value, name: &str) -> Result<f64> {
    of.get(name).and_then(Value::as_f64).with_context(|| format!("no number {name}"))
}
