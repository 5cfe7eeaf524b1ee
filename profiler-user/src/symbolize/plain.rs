//! Names without lines, of code that no file holds: the kernel's, the vdso's, and what a runtime made.

use std::sync::Arc;

use super::demangle::demangle_all;
use super::{NamedAddress, NamedFunction, NamedLine};

/// Named addresses in the order of the names, demangled if their writer left that to us; empty for `None`.
pub(super) fn plain_names(system_names: &[Option<Arc<str>>]) -> Vec<Arc<NamedAddress>> {
    let known: Vec<Arc<str>> = system_names.iter().flatten().cloned().collect();
    let mut readable = if known.is_empty() { Vec::new() } else { demangle_all(&known) }.into_iter();
    let file: Arc<str> = "".into();
    let mut named = |system_name: &Arc<str>| {
        let name = readable.next().unwrap_or_else(|| Arc::clone(system_name));
        let (system_name, file) = (Arc::clone(system_name), Arc::clone(&file));
        vec![NamedLine { function: NamedFunction { name, system_name, file, start_line: 0 }, line: 0 }]
    };
    system_names.iter().map(|name| Arc::new(name.as_ref().map(&mut named).unwrap_or_default())).collect()
}
