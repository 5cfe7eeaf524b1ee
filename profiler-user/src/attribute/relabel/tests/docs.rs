//! The examples of `docs/relabel.md`: their rules are parsed and applied to the labels that stand below them.

use serde::Deserialize;

use super::{Relabel, RelabelConfig, applied};

#[derive(Deserialize)]
struct File {
    labels: Section,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    relabel_configs: Vec<RelabelConfig>,
}

#[test]
fn the_examples_do_what_is_said_of_them() {
    let page = include_str!("../../../../../docs/relabel.md");
    let mut fences = page.split("```").skip(1).step_by(2);
    let mut examples = 0;
    while let Some(rules) = fences.next() {
        let rules = rules.strip_prefix("toml\n").expect("rules come first");
        let rules: File = toml::from_str(rules).unwrap_or_else(|error| panic!("{error}"));
        let rules = Relabel::new(rules.labels.relabel_configs).unwrap();
        let outcomes = fences.next().expect("then what they do").lines().filter(|line| !line.is_empty());
        for outcome in outcomes {
            let (before, after) = outcome.split_once(" → ").unwrap();
            applied(&rules, before, after);
            examples += 1;
        }
    }
    assert!(examples > 15, "{examples}");
}
