//! Linkage names → names for people.
//!
//! Names come from files of strangers: mangled names can be short and yet expand without end, or nest
//! deeply. Input, output and depth are bounded; what exceeds them is shown as it is.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::sync::Arc;

/// Longer linkage names are shown as they are.
const INPUT_BYTES_MAX: usize = 16 << 10;
/// Names that get longer are shown as they are.
const OUTPUT_BYTES_MAX: usize = 16 << 10;
/// Levels of C++'s grammar, some eight for each template in a template. cpp_demangle's own default of 96 gives up on
/// names that occur (see the measurement at [`STACK_BYTES`]).
const DEPTH_MAX: u32 = 192;
/// The stack for [`DEPTH_MAX`]. Without optimisation an expression takes 30 KiB a level (measured): 6 MiB, more
/// than a thread of the runtime has. Only what is used is ever resident.
const STACK_BYTES: usize = 32 << 20;

/// Behind the name of a function, the name of the stub that jumps to it ([`super::plt`]).
pub(super) const STUB_SUFFIX: &str = "@plt";

/// Names for people, in the same order, for linkage names of which many may be C++.
///
/// Works on a thread with a stack of its own, as deeply as strangers' names may nest. If there is no thread
/// to be had, names stay as they are.
pub(super) fn demangle_all(linkage_names: &[Arc<str>]) -> Vec<Arc<str>> {
    let readable = |name: &Arc<str>| match demangle(name) {
        Cow::Borrowed(_) => Arc::clone(name),
        Cow::Owned(readable) => readable.into(),
    };
    let work = || linkage_names.iter().map(readable).collect();
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("demangle".to_owned()).stack_size(STACK_BYTES);
        builder.spawn_scoped(scope, work).ok().and_then(|thread| thread.join().ok())
    })
    .unwrap_or_else(|| linkage_names.to_vec())
}

/// The name of a Rust (legacy and v0, hash dropped) or C++ function (with parameters, without return
/// type); any other name, and one that is malformed or expands too far, unchanged.
fn demangle(linkage_name: &str) -> Cow<'_, str> {
    let (bare, stub) = match linkage_name.strip_suffix(STUB_SUFFIX) {
        Some(bare) => (bare, STUB_SUFFIX),
        None => (linkage_name, ""),
    };
    let readable = if linkage_name.len() > INPUT_BYTES_MAX { None } else { rust(bare).or_else(|| cpp(bare)) };
    readable.map_or(Cow::Borrowed(linkage_name), |name| Cow::Owned(name + stub))
}

fn rust(name: &str) -> Option<String> {
    let symbol = rustc_demangle::try_demangle(name).ok()?;
    let mut text = Bounded(String::new());
    write!(text, "{symbol:#}").ok()?;
    Some(text.0)
}

fn cpp(name: &str) -> Option<String> {
    // The parser also takes bare types, which would turn C's `f` or `v` into `float` and `void`.
    if !name.starts_with("_Z") && !name.starts_with("_GLOBAL_") {
        return None;
    }
    let parsing = cpp_demangle::ParseOptions::default().recursion_limit(DEPTH_MAX);
    let symbol = cpp_demangle::Symbol::new_with_options(name, &parsing).ok()?;
    let writing = cpp_demangle::DemangleOptions::new().recursion_limit(DEPTH_MAX).no_return_type();
    let mut text = Bounded(String::new());
    symbol.structured_demangle(&mut text, &writing).ok()?;
    Some(text.0)
}

/// Text that refuses to grow over [`OUTPUT_BYTES_MAX`], which ends the demangler early.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len().saturating_add(text.len()) > OUTPUT_BYTES_MAX {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_mangling_become_readable() {
        for (raw, readable) in [
            ("_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", "core::fmt::Formatter::pad"),
            ("_RNvCs1234_7mycrate3foo", "mycrate::foo"),
            ("_RINvNtC3std3mem8align_ofjE", "std::mem::align_of::<usize>"),
            ("_ZNSt6vectorIiSaIiEE9push_backEOi", "std::vector<int, std::allocator<int> >::push_back(int&&)"),
            ("_Z3fooILi2EEvRKi", "foo<2>(int const&)"),
            ("_ZN3foo3barEv.cold", "foo::bar() [clone .cold]"),
            ("_Z3fooILi2EEvRKi@plt", "foo<2>(int const&)@plt"),
            ("_RNvCs1234_7mycrate3foo@plt", "mycrate::foo@plt"),
            ("main@plt", "main@plt"),
            ("main", "main"),
            ("f", "f"),
            ("foo.constprop.0", "foo.constprop.0"),
            ("", ""),
        ] {
            assert_eq!(demangle(raw), readable);
        }
    }

    #[test]
    fn malformed_names_stay_as_they_are() {
        for raw in ["_Z", "_ZN", "_ZN3foE", "_R", "_RNvC", "_ZN9999999999999999999999foo", "_Zé"] {
            assert_eq!(demangle(raw), raw);
        }
    }

    #[test]
    fn names_that_expand_or_nest_without_end_stay_as_they_are() {
        // Each parameter repeats the one before it four times: 4^12 names.
        let mut explosive = "_Z1f1a".to_owned();
        for before in ["S_", "S1_", "S3_", "S5_", "S7_", "S9_", "SB_", "SD_", "SF_", "SH_", "SJ_", "SL_"] {
            explosive += &format!("1bI{}E", before.repeat(4));
        }
        let long = format!("_Z{INPUT_BYTES_MAX}{}v", "x".repeat(INPUT_BYTES_MAX));
        let deep = [
            format!("_Z1f{}i", "P".repeat(10_000)),
            format!("_Z1f{}i", "FP".repeat(5_000)),
            format!("_Z1f{}i{}", "1aI".repeat(3_000), "E".repeat(3_000)),
            format!("_Z1fIX{}Li1E{}EE", "cl".repeat(3_000), "E".repeat(3_000)),
            format!("_Z1fIX{}Li1EEE", "st".repeat(3_000)),
            format!("_Z{}1fvE1", "Z".repeat(3_000)),
        ];
        for name in deep.into_iter().chain([explosive, long]).map(Arc::from) {
            let shown = demangle_all(&[Arc::clone(&name)]);
            let unchanged = shown[0] == name;
            assert!(unchanged, "{}... became {} bytes", &name[..40], shown[0].len());
        }

        let deep_rust: Arc<str> = format!("_RINvC1a1f{}hE", "R".repeat(10_000)).into();
        assert!(demangle_all(&[deep_rust])[0].len() <= OUTPUT_BYTES_MAX);
    }
}
