//! Which of several names of one function is shown.

use std::cmp::Reverse;

/// How far a symbol is visible, the widest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Binding {
    Local,
    Weak,
    Global,
}

/// Orders names of one address; the greatest is the one people know: `malloc` before `__libc_malloc`,
/// `read` (weak) before `__read` (global). The last criteria only make the choice the same every time.
pub(super) fn familiarity(name: &str, binding: Binding) -> impl Ord {
    let underscores = name.bytes().take_while(|byte| *byte == b'_').count();
    // Mangled names begin with an underscore by design.
    let underscores = if name.starts_with("_Z") || name.starts_with("_R") { 0 } else { underscores };
    (Reverse(underscores), binding, Reverse(name.len()), Reverse(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_people_know_wins() {
        let best = |names: &[(&'static str, Binding)]| {
            names.iter().max_by_key(|(name, binding)| familiarity(name, *binding)).unwrap().0
        };
        use Binding::{Global, Local, Weak};
        assert_eq!(best(&[("__libc_malloc", Global), ("malloc", Global), ("__malloc", Local)]), "malloc");
        assert_eq!(best(&[("__read", Global), ("read", Weak), ("__GI___read", Local)]), "read");
        assert_eq!(best(&[("local", Local), ("global", Global)]), "global");
        assert_eq!(best(&[("_ZN1aC1Ev", Weak), ("_ZN1aC2Ev", Weak)]), "_ZN1aC1Ev");
    }
}
