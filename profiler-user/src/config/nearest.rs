//! A mistyped key → the one that was meant, if one is near.

use super::key::Key;

/// Jaro-Winkler: one means equal. Below this, names that merely begin alike would be offered
/// (`rate` for `region`).
const NEAR: f64 = 0.82;

/// Keys of a table that a message lists, at most.
const LISTED_MAX: usize = 12;

/// What may have been meant by a path that no key has, or what there is in its table, as the end of a message.
pub(super) fn hint(path: &str, known: &[&Key]) -> String {
    if let Some(nearest) = nearest(path, known) {
        return format!("; did you mean {nearest}?");
    }
    let (table, _) = split(path);
    let mut names: Vec<&str> = match table {
        "" => known.iter().map(|key| key.path.split('.').next().unwrap_or(key.path)).collect(),
        _ => known.iter().filter(|key| split(key.path).0 == table).map(|key| split(key.path).1).collect(),
    };
    names.dedup();
    match names.len() {
        1..=LISTED_MAX => format!("; there are {}", names.join(", ")),
        _ => String::new(),
    }
}

/// A key of the same name in another table comes first: that is what a wrong table looks like.
fn nearest(path: &str, known: &[&Key]) -> Option<String> {
    let (table, name) = split(path);
    let elsewhere = known.iter().find(|key| split(key.path).1 == name);
    if let Some(key) = elsewhere {
        return Some(in_its_table(key));
    }
    let in_table = known.iter().filter(|key| split(key.path).0 == table).map(|key| split(key.path).1);
    let tables = known.iter().filter(|_| table.is_empty()).map(|key| split(key.path).0);
    let siblings = in_table.chain(tables).filter(|candidate| !candidate.is_empty());
    let best = closest(name, siblings).map(str::to_owned);
    best.map(|name| format!("`{name}`")).or_else(|| {
        let likely = closest(name, known.iter().map(|key| split(key.path).1))?;
        let key = known.iter().find(|key| split(key.path).1 == likely)?;
        Some(in_its_table(key))
    })
}

fn in_its_table(key: &Key) -> String {
    match split(key.path) {
        ("", name) => format!("`{name}`"),
        (table, name) => format!("`{name}` in [{table}]"),
    }
}

/// The nearest of some names: alike as a whole, or a single slip away, which in a short name makes it unlike.
pub(super) fn closest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = candidates.map(|candidate| (strsim::jaro_winkler(name, candidate), candidate));
    let is_slip = |candidate: &str| name.len() > 1 && strsim::osa_distance(name, candidate) == 1;
    let best = scored.filter(|(score, candidate)| *score >= NEAR || is_slip(candidate));
    best.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, candidate)| candidate)
}

/// A path's tables and its name.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_found_by_likeness_and_by_name() {
        let keys = [Key::new("sampling.rate", ""), Key::new("spool.max_bytes", ""), Key::new("push", "")];
        let known: Vec<&Key> = keys.iter().collect();
        let check = |path: &str, expected: Option<&str>| {
            assert_eq!(nearest(path, &known).as_deref(), expected, "{path}");
        };
        check("sampling.rte", Some("`rate`"));
        check("sampling.max_bytes", Some("`max_bytes` in [spool]"));
        check("rate", Some("`rate` in [sampling]"));
        check("samplign", Some("`sampling`"));
        check("sampling.maxbytes", Some("`max_bytes` in [spool]"));
        check("spool.maxbytes", Some("`max_bytes`"));
        check("psuh", Some("`push`"));
        check("sampling.raet", Some("`rate`"));
        check("colour", None);
        check("sampling.colour", None);
        assert_eq!(hint("colour", &known), "; there are sampling, spool, push");
        assert_eq!(hint("spool.colour", &known), "; there are max_bytes");
    }
}
