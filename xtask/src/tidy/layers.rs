//! Stages import to the left only: what a folder of the user half may name of its own crate.
//!
//! ```text
//!   sample ▶ collect ▶ process ▶ unwind ▶ symbolize ▶ attribute ▶ aggregate ▶ deliver ▶ telemetry
//! ```
//!
//! `host` and `elf` are everybody's. Whatever is no stage (main, cli, record, doctor, daemon) stands above them and may name all.

use super::tokens::{self, Kind, Token};
use super::{Finding, Source};

/// In pipeline order. `telemetry` watches all of them, so it is the last, and none may name it.
const STAGES: [&str; 9] =
    ["sample", "collect", "process", "unwind", "symbolize", "attribute", "aggregate", "deliver", "telemetry"];

/// Modules beside the stages that each of them may name: the outside world, and bytes of ELF files.
const SHARED: [&str; 3] = ["allocator", "host", "elf"];

const CRATE: &str = "profiler-user/src/";

/// The stage folders, for the rule that the architecture document names them.
pub(super) fn stage_of(path: &str) -> Option<&'static str> {
    let module = path.strip_prefix(CRATE)?.split('/').next()?;
    let module = module.strip_suffix(".rs").unwrap_or(module);
    STAGES.into_iter().find(|stage| *stage == module)
}

/// A stage's file names no stage to its right, and nothing that stands above the stages.
pub(super) fn imports_go_left(source: &Source) -> Vec<Finding> {
    let Some(stage) = stage_of(&source.path) else { return Vec::new() };
    let tokens = tokens::of_product(&source.path, &source.text);
    let mut findings = Vec::new();
    for (line, module) in modules_of_the_crate(&tokens, depth_of(&source.path)) {
        if !may_name(stage, &module) {
            let message = format!("`{stage}` names `crate::{module}`, which is not to its left");
            findings.push(Finding { path: source.path.clone(), line, message });
        }
    }
    findings
}

fn may_name(stage: &str, module: &str) -> bool {
    let place = |name: &str| STAGES.iter().position(|stage| *stage == name);
    SHARED.contains(&module) || place(module).is_some_and(|other| Some(other) <= place(stage))
}

/// How many `super::` lead from this file's module to the crate root.
fn depth_of(path: &str) -> usize {
    let inside = path.strip_prefix(CRATE).unwrap_or(path);
    let parts = inside.split('/').count();
    if inside.ends_with("/mod.rs") { parts - 1 } else { parts }
}

/// Top modules of the own crate that the tokens name, with lines: by `crate::x`, `crate::{x, y::z}`, `super::…::x`.
fn modules_of_the_crate(tokens: &[Token], depth: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for start in 0..tokens.len() {
        let rest = &tokens[start..];
        let is_inner = start > 0 && tokens[start - 1].is_sign(':');
        if is_inner {
            continue;
        }
        let root = if tokens::starts_with(rest, &["crate", ":", ":"]) {
            Some(3)
        } else {
            let supers =
                rest.chunks(3).take_while(|chunk| tokens::starts_with(chunk, &["super", ":", ":"])).count();
            (supers > 0 && supers >= depth).then_some(supers * 3)
        };
        if let Some(after) = root {
            found.extend(heads(&rest[after..]));
        }
    }
    found
}

/// The first word of a path, or of each branch of a `{…}` group.
fn heads(tokens: &[Token]) -> Vec<(usize, String)> {
    let head = |token: &Token| token.word().map(|word| (token.line, word.to_owned()));
    if !tokens.first().is_some_and(|token| token.is_sign('{')) {
        return tokens.first().and_then(head).into_iter().collect();
    }
    let mut found = Vec::new();
    let mut depth = 0_usize;
    let mut at_branch = false;
    for token in tokens {
        match token.kind {
            Kind::Sign('{') => depth += 1,
            Kind::Sign('}') => depth -= 1,
            Kind::Sign(',') => {}
            _ => {
                if at_branch && depth == 1 {
                    found.extend(head(token));
                }
                at_branch = false;
                continue;
            }
        }
        at_branch = depth == 1;
        if depth == 0 {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::lines;
    use super::*;

    fn check(path: &str, text: &str, expected: &[usize]) {
        let findings = imports_go_left(&Source::of(path, text));
        assert_eq!(lines(&findings), expected, "{path}: {findings:?}");
    }

    #[test]
    fn left_own_and_host_may_be_named() {
        let text =
            "use crate::{collect::ring, host::ProcFs, symbolize::Name};\nfn f() -> crate::process::Table {}";
        check("profiler-user/src/symbolize/native.rs", text, &[]);
        check(
            "profiler-user/src/process/mod.rs",
            "use profiler_common::frame::Frame;\nuse super::host;",
            &[],
        );
    }

    #[test]
    fn right_may_not_be_named_however_it_is_spelled() {
        check("profiler-user/src/process/mod.rs", "\nuse crate::symbolize::Name;", &[2]);
        check(
            "profiler-user/src/process/mod.rs",
            "use crate::{\n  collect::{a, b},\n  deliver::{c},\n};",
            &[3],
        );
        check("profiler-user/src/process/mod.rs", "use super::aggregate;", &[1]);
        check("profiler-user/src/process/table.rs", "use super::super::aggregate;", &[1]);
        check("profiler-user/src/process/table.rs", "fn f() { g(crate::deliver::h()) }", &[1]);
        check("profiler-user/src/deliver/file/svg.rs", "use super::super::super::telemetry;", &[1]);
    }

    #[test]
    fn what_stands_above_the_stages_may_not_be_named() {
        check("profiler-user/src/collect/mod.rs", "use crate::cli::Args;", &[1]);
        check("profiler-user/src/sample/attach.rs", "use crate::telemetry::Metrics;", &[1]);
    }

    #[test]
    fn super_within_the_stage_is_its_own_business() {
        check("profiler-user/src/process/table.rs", "use super::deliver;", &[]);
        check("profiler-user/src/deliver/file/svg.rs", "use super::super::deliver;", &[]);
    }

    #[test]
    fn tests_comments_and_the_top_may_name_all() {
        let text = "//! See crate::deliver.\n#[cfg(test)]\nmod tests { use crate::deliver::x; }";
        check("profiler-user/src/process/mod.rs", text, &[]);
        check("profiler-user/src/record.rs", "use crate::deliver::file;", &[]);
        check("profiler-user/src/doctor/mod.rs", "use crate::sample::attach;", &[]);
    }
}
