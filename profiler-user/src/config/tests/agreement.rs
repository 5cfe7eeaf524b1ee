//! That file, options, variables, example and documentation say the same as the declarations of the keys.

use std::collections::BTreeSet;
use std::fs;

use clap::CommandFactory;
use expect_test::expect_file;
use toml::de::DeTable;

use super::*;
use crate::cli::Cli;

/// Every key with its whole path, those of lists' tables too; and whether it has options.
fn every_key() -> Vec<(String, &'static Key, bool)> {
    let mut all = Vec::new();
    for key in DaemonConfig::sections().into_iter().flat_map(|section| section.keys) {
        all.push((key.path.to_owned(), key, true));
        for element in key.elements {
            all.push((format!("{}.{}", key.path, element.path), element, key.first_has_options));
        }
    }
    all
}

#[test]
fn every_key_is_described_and_its_default_and_bounds_are_right() {
    for (path, key, _) in every_key() {
        assert!(key.summary().len() > 5 && !key.summary().contains('\n'), "{path}");
        let is_set =
            key.default_value().is_some_and(|value| value.to_string() != "[]" && value.to_string() != "{}");
        let is_shown = is_set || !key.example.is_empty() || !key.elements.is_empty();
        assert!(is_shown, "{path} has neither a default nor an example");
        for text in [key.least, key.most].into_iter().flatten() {
            assert!((key.kind.shown)(text).is_some(), "{path}: {text}");
        }
        assert!(key.default.is_empty() || key.default_value().is_some(), "{path}: {}", key.default);
    }
    assert!(Given::default().load().is_ok(), "a default is out of its own bounds");
}

#[test]
fn every_key_has_an_option_and_a_variable_of_its_own() {
    let daemon = Cli::command().find_subcommand("daemon").unwrap().clone();
    let options: BTreeSet<String> =
        daemon.get_arguments().filter_map(|option| option.get_long()).map(str::to_owned).collect();
    let mut variables = BTreeSet::from(["FLAMEKEEPER_CONFIG".to_owned()]);
    let mut expected: BTreeSet<String> =
        ["config", "check-config", "example-config"].map(str::to_owned).into();
    for (path, _, _) in every_key().iter().filter(|(_, _, has_options)| *has_options) {
        assert!(expected.insert(option_name(path)), "{path}");
        assert!(variables.insert(key::variable_name(path)), "{path}");
    }
    assert_eq!(options, expected);
}

#[test]
fn the_options_reach_the_configuration() {
    use clap::Parser;
    let arguments = [
        "flamekeeper",
        "daemon",
        "--rate",
        "49",
        "--include-self",
        "--labels-hostname=false",
        "--push-url=http://a",
    ];
    let crate::cli::Command::Daemon(args) = Cli::try_parse_from(arguments).unwrap().command else { panic!() };
    let config = Loader::new(None, args.options, [], host()).load().unwrap().config;
    assert_eq!((config.sampling.rate.get(), config.push.endpoints.len()), (49, 1));
    assert!(config.sampling.include_self && !config.labels.hostname);
    let refused = Cli::try_parse_from(["flamekeeper", "daemon", "--spol-dir", "x"]).unwrap_err().to_string();
    assert!(refused.contains("--spool-dir"), "{refused}");
}

#[test]
fn the_example_in_the_tree_is_up_to_date_and_says_the_defaults() {
    let example = example();
    expect_file!["../../../../deploy/config.example.toml"].assert_eq(&example);
    let as_it_is = loaded(&example).config;
    assert_eq!(as_it_is, Given::default().load().unwrap().config, "as it is it changes something");
    // With every line that begins with `#` alone in force: the same keys as in the code, each with its default.
    let enabled: String = example
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '['))
        })
        .zip(example.lines())
        .map(|(enabled, line)| format!("{}\n", enabled.unwrap_or(line)))
        .collect();
    let document = DeTable::parse(&enabled).unwrap_or_else(|error| panic!("{error}\n{enabled}"));
    let value: toml::Table = toml::from_str(&enabled).unwrap();
    let found = paths("", &toml::Value::Table(value));
    let expected: BTreeSet<(String, String)> = every_key()
        .into_iter()
        .filter(|(_, key, _)| key.elements.is_empty())
        .map(|(path, key, _)| {
            let default = key.default_value().filter(|_| key.example.is_empty());
            (path, default.map_or_else(|| toml_text(key.example), |value| value.to_string()))
        })
        .collect();
    assert!(!document.get_ref().is_empty());
    assert_eq!(found, expected);
}

/// A value written the way the toml crate writes it.
fn toml_text(text: &str) -> String {
    toml::from_str::<toml::Table>(&format!("x = {text}")).unwrap()["x"].to_string()
}

/// Whole paths and values of a document, where a path is a key's.
fn paths(prefix: &str, value: &toml::Value) -> BTreeSet<(String, String)> {
    let is_key = every_key().iter().any(|(path, key, _)| path == prefix && key.elements.is_empty());
    match value {
        toml::Value::Table(table) if !is_key => {
            table.iter().flat_map(|(name, value)| paths(&document::join(prefix, name), value)).collect()
        }
        toml::Value::Array(items) if !is_key => items.iter().flat_map(|item| paths(prefix, item)).collect(),
        value => [(prefix.to_owned(), value.to_string())].into(),
    }
}

const BEGIN: &str = "<!-- keys: made of the declarations in profiler-user/src/config/keys by its tests -->\n";
const END: &str = "<!-- end of keys -->\n";

#[test]
fn the_documentation_is_up_to_date() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let text = fs::read_to_string(file).unwrap();
    let (head, rest) = text.split_once(BEGIN).unwrap();
    let (_, tail) = rest.split_once(END).unwrap();
    let expected = format!("{head}{BEGIN}\n{}\n{END}{tail}", reference());
    expect_file!["../../../../docs/configuration.md"].assert_eq(&expected);
}
