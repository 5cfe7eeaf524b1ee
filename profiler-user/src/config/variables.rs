//! Names of variables → a warning for each that nobody reads, with what was meant: it would be ignored without a word.
//!
//! Kubernetes gives every container variables for the services of its namespace, by their names: those of a service
//! `flamekeeper` or `flamekeeper-…` begin as ours do and are left alone.

use std::sync::LazyLock;

use regex::Regex;

use super::all_keys;
use super::key::{Key, VARIABLE_PREFIX, variable_name};
use super::nearest::closest;
use super::place::Place;
use super::problem::{At, Report, Wrong};

/// Variables of the other commands and of tests: known, and no keys.
const OTHERS: [&str; 7] = ["ADDRESS", "BIN", "CONFIG", "DURATION", "FORMAT", "KERNEL_WITHOUT", "OUTPUT"];

/// What follows a service's name, as the kubelet makes it (Kubernetes 1.0 on, pkg/kubelet/envvars/envvars.go).
#[expect(clippy::unwrap_used, reason = "a constant, which a test reads")]
static OF_A_SERVICE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$")
        .unwrap()
});

/// Warns of those among these names, each with the prefix.
pub(super) fn report_unread<'a>(names: impl Iterator<Item = &'a str>, report: &mut Report) {
    let others = OTHERS.iter().map(|name| format!("{VARIABLE_PREFIX}{name}"));
    let known: Vec<String> = of_keys().into_iter().chain(others).collect();
    for name in names.filter(|name| !known.iter().any(|known| known == name) && !OF_A_SERVICE.is_match(name))
    {
        let own = |name: &'a str| name.trim_start_matches(VARIABLE_PREFIX);
        let candidates = known.iter().map(|name| name.trim_start_matches(VARIABLE_PREFIX));
        let nearest = closest(own(name), candidates);
        let hint =
            nearest.map(|nearest| format!("; did you mean {VARIABLE_PREFIX}{nearest}?")).unwrap_or_default();
        let at = At { key: String::new(), place: Place::Variable(name.to_owned()) };
        report.warning(at, Wrong::UnknownVariable { hint });
    }
}

/// Every variable that a key has.
fn of_keys() -> Vec<String> {
    let own = |key: &'static Key| {
        let elements = key.elements.iter().filter(|_| key.first_has_options);
        let paths = elements.map(|element| format!("{}.{}", key.path, element.path));
        paths.chain([key.path.to_owned()]).collect::<Vec<_>>()
    };
    all_keys().into_iter().flat_map(own).map(|path| variable_name(&path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(names: &[&str]) -> Vec<String> {
        let mut report = Report::default();
        report_unread(names.iter().copied(), &mut report);
        report.warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_nobody_reads_is_told_whatever_it_looks_like() {
        assert_eq!(
            warnings(&[
                "FLAMEKEEPER_WINDWO",
                "FLAMEKEEPER_KALLSYMS",
                "FLAMEKEEPER_WINDOW",
                "FLAMEKEEPER_CONFIG"
            ]),
            [
                "FLAMEKEEPER_WINDWO: nobody reads this variable; did you mean FLAMEKEEPER_WINDOW?",
                "FLAMEKEEPER_KALLSYMS: nobody reads this variable",
            ]
        );
    }

    #[test]
    fn what_kubernetes_makes_for_a_service_of_our_name_is_not() {
        let made = [
            "FLAMEKEEPER_SERVICE_HOST",
            "FLAMEKEEPER_SERVICE_PORT",
            "FLAMEKEEPER_SERVICE_PORT_METRICS",
            "FLAMEKEEPER_PORT",
            "FLAMEKEEPER_PORT_4041_TCP",
            "FLAMEKEEPER_PORT_4041_TCP_PROTO",
            "FLAMEKEEPER_PORT_4041_TCP_PORT",
            "FLAMEKEEPER_HUB_PORT_4041_TCP_ADDR",
            "FLAMEKEEPER_HUB_SERVICE_HOST",
        ];
        assert!(warnings(&made).is_empty(), "{:?}", warnings(&made));
    }
}
