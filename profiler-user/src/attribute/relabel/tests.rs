//! Rules as they stand in a configuration file, and what they make of labels: what Prometheus documents of each
//! action, the cases of its own tests, and our bounds.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;

mod docs;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    relabel_configs: Vec<RelabelConfig>,
}

fn relabel(rules: &str) -> Result<Relabel, String> {
    let file: File = toml::from_str(rules).map_err(|error| error.to_string())?;
    Relabel::new(file.relabel_configs).map_err(|error| error.to_string())
}

/// `a = "foo", b = "bar"` as labels.
fn labels(text: &str) -> Labels {
    let table: Result<toml::Table, _> = toml::from_str(&format!("labels = {{ {text} }}"));
    let labels = table.unwrap_or_else(|error| panic!("{error}"))["labels"].clone();
    let labels = labels.as_table().unwrap().iter();
    labels.map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect()
}

fn rule(body: &str) -> String {
    format!("[[relabel_configs]]\n{body}\n")
}

/// What the rules, each of them the body of one entry, make of the labels.
#[track_caller]
fn check(before: &str, rules: &[&str], after: &str) {
    applied(&relabel(&rules.iter().map(|body| rule(body)).collect::<String>()).unwrap(), before, after);
}

#[track_caller]
fn applied(relabel: &Relabel, before: &str, after: &str) {
    let mut changed = labels(before);
    let outcome = match relabel.dropped_by(&mut changed) {
        Some(rule) => format!("dropped by {rule}"),
        None => changed.to_string(),
    };
    let expected = if after.starts_with("dropped") { after.to_owned() } else { labels(after).to_string() };
    assert_eq!(outcome, expected);
}

/// That the rule is refused, and why.
#[track_caller]
fn refused(body: &str, reason: &str) {
    let error = relabel(&rule(body)).err().unwrap_or_default();
    assert!(error.contains(reason), "{error}");
}

const ABC: &str = r#"a = "foo", b = "bar", c = "baz""#;

#[test]
fn replace_writes_what_the_groups_hold() {
    check(
        ABC,
        &[r#"source_labels = ["a"]
             regex = "f(.*)"
             target_label = "d"
             replacement = "ch${1}-ch${1}""#],
        r#"a = "foo", b = "bar", c = "baz", d = "choo-choo""#,
    );
    // The second rule reads what the first has written.
    check(
        ABC,
        &[
            r#"source_labels = ["a", "b"]
               regex = "f(.*);(.*)r"
               target_label = "a"
               replacement = "b${1}${2}m""#,
            r#"source_labels = ["c", "a"]
               regex = "(b).*b(.*)ba(.*)"
               target_label = "d"
               replacement = "$1$2$2$3""#,
        ],
        r#"a = "boobam", b = "bar", c = "baz", d = "boooom""#,
    );
}

#[test]
fn replace_without_a_match_does_nothing() {
    let rule = r#"source_labels = ["a"]
                  regex = "f"
                  target_label = "b"
                  replacement = "bar""#;
    check(r#"a = "boo""#, &[rule], r#"a = "boo""#);
    check(r#"a = "foo""#, &[rule], r#"a = "foo""#);
    check(r#"a = "f""#, &[rule], r#"a = "f", b = "bar""#);
}

#[test]
fn replace_copies_by_default_and_an_empty_value_removes() {
    let copy = r#"source_labels = ["a"]
                  target_label = "b""#;
    check(r#"a = "x", b = "y""#, &[copy], r#"a = "x", b = "x""#);
    check(r#"b = "y", c = "z""#, &[copy], r#"c = "z""#);
    let constant = r#"target_label = "cluster"
                      replacement = "eu""#;
    check("", &[constant], r#"cluster = "eu""#);
    check(r#"a = "x", b = "y""#, &["target_label = \"a\"\nreplacement = \"\""], r#"b = "y""#);
}

#[test]
fn the_target_is_expanded_too() {
    let named = |replacement: &str, target: &str| {
        format!(
            "source_labels = ['a']\nregex = 'some-([^-]+)-([^,]+)'\nreplacement = '{replacement}'\ntarget_label = '{target}'"
        )
    };
    let before = r#"a = "some-name-value""#;
    check(before, &[&named("${2}", "${1}")], r#"a = "some-name-value", name = "value""#);
    check(before, &[&named("${3}", "${1}")], before);
    check(before, &[&named("${1}", "${3}")], before);
    // Any text but the empty one is a name.
    check(before, &[&named("${1}", "0${3}")], r#"a = "some-name-value", 0 = "name""#);
    check(
        r#"a = "line1\nline2""#,
        &[
            "source_labels = ['a']\nregex = '(line1).*(?<second>line2)'\ntarget_label = 'one_${1}'\nreplacement = 'v_${second}'",
            "source_labels = ['a']\nregex = '(line1).*(?P<second>line2)'\ntarget_label = 'two_$1'\nreplacement = 'v_$second'",
        ],
        r#"a = "line1\nline2", one_line1 = "v_line2", two_line1 = "v_line2""#,
    );
}

#[test]
fn a_list_in_one_value_is_taken_apart() {
    let part = |regex: &str, target: &str, replacement: &str| {
        format!(
            "source_labels = ['__meta_sd_tags']\nregex = '(?:.+,|^){regex}.*'\ntarget_label = '{target}'\nreplacement = '{replacement}'"
        )
    };
    check(
        r#"__meta_sd_tags = "path:/secret,job:some-job,label:foo=bar""#,
        &[
            &part("path:(/[^,]+)", "__metrics_path__", "${1}"),
            &part("job:([^,]+)", "job", "${1}"),
            &part("label:([^=]+)=([^,]+)", "${1}", "${2}"),
        ],
        r#"__meta_sd_tags = "path:/secret,job:some-job,label:foo=bar", __metrics_path__ = "/secret", job = "some-job", foo = "bar""#,
    );
}

#[test]
fn keep_and_drop_take_the_whole_value() {
    let a =
        |action: &str, regex: &str| format!("action = '{action}'\nsource_labels = ['a']\nregex = '{regex}'");
    let before = r#"a = "foo""#;
    check(before, &[&a("drop", ".*o.*")], r#"dropped by rule 1: drop a =~ ".*o.*""#);
    check(before, &[&a("drop", "f|o")], before);
    check(before, &[&a("drop", "no-match")], before);
    check(before, &[&a("keep", "f.*")], before);
    check(before, &[&a("keep", "f|o")], r#"dropped by rule 1: keep a =~ "f|o""#);
    check(before, &[&a("keep", "foo"), &a("keep", "oo")], r#"dropped by rule 2: keep a =~ "oo""#);
    // What is not there is empty.
    check(r#"b = "x""#, &[&a("drop", "")], r#"dropped by rule 1: drop a =~ """#);
    check(r#"b = "x""#, &[&a("keep", ".+")], r#"dropped by rule 1: keep a =~ ".+""#);
    // A dot is any character.
    check(r#"a = "x\ny""#, &[&a("keep", "x.y")], r#"a = "x\ny""#);
}

#[test]
fn a_dropped_process_is_not_looked_at_further() {
    let rules = "[[relabel_configs]]\naction = 'drop'\nsource_labels = ['a']\nregex = '.*o.*'\n\
                 [[relabel_configs]]\nsource_labels = ['a']\ntarget_label = 'd'";
    let mut changed = labels(r#"a = "foo""#);
    assert!(!relabel(rules).unwrap().apply(&mut changed));
    assert_eq!(changed, labels(r#"a = "foo""#));
}

#[test]
fn equal_values_are_compared() {
    let ports = r#"tmp = "1234", one = "1234", two = "5678""#;
    let with = |action: &str, target: &str| {
        format!("action = '{action}'\nsource_labels = ['tmp']\ntarget_label = '{target}'")
    };
    check(ports, &[&with("keepequal", "one"), &with("dropequal", "two")], ports);
    check(ports, &[&with("dropequal", "one")], "dropped by rule 1: dropequal tmp = one");
    check(ports, &[&with("keepequal", "two")], "dropped by rule 1: keepequal tmp = two");
    check(
        ports,
        &["action = 'dropequal'\nsource_labels = ['x']\ntarget_label = 'y'"],
        "dropped by rule 1: dropequal x = y",
    );
}

#[test]
fn hashmod_spreads_as_prometheus_does() {
    let modulo = |modulus: u64| {
        format!("action = 'hashmod'\nsource_labels = ['c']\ntarget_label = 'd'\nmodulus = {modulus}")
    };
    check(ABC, &[&modulo(1000)], r#"a = "foo", b = "bar", c = "baz", d = "976""#);
    check(r#"c = "foo\nbar""#, &[&modulo(1000)], r#"c = "foo\nbar", d = "734""#);
    check(r#"c = "baz""#, &[&modulo(1)], r#"c = "baz", d = "0""#);
}

#[test]
fn labelmap_copies_names() {
    check(
        r#"a = "foo", b1 = "bar", b2 = "baz""#,
        &["action = 'labelmap'\nregex = '(b.*)'\nreplacement = 'bar_${1}'"],
        r#"a = "foo", b1 = "bar", b2 = "baz", bar_b1 = "bar", bar_b2 = "baz""#,
    );
    check(
        r#"a = "foo", __meta_my_bar = "aaa", __meta_my_baz = "bbb", __meta_other = "ccc""#,
        &["action = 'labelmap'\nregex = '__meta_(my.*)'"],
        r#"a = "foo", __meta_my_bar = "aaa", __meta_my_baz = "bbb", __meta_other = "ccc", my_bar = "aaa", my_baz = "bbb""#,
    );
    // A copy is not copied again, and one that exists is overwritten.
    check(
        r#"x = "1", xx = "2""#,
        &["action = 'labelmap'\nregex = '(x+)'\nreplacement = 'x$1'"],
        r#"x = "1", xx = "1", xxx = "2""#,
    );
}

#[test]
fn labeldrop_and_labelkeep_look_at_names() {
    let before = r#"a = "foo", b1 = "bar", b2 = "baz""#;
    check(before, &["action = 'labelkeep'\nregex = '(b.*)'"], r#"b1 = "bar", b2 = "baz""#);
    check(before, &["action = 'labeldrop'\nregex = '(b.*)'"], r#"a = "foo""#);
    check(before, &["action = 'labeldrop'\nregex = 'b'"], before);
    // A label that was removed can be written anew.
    check(
        r#"name = "foo", port = "9091""#,
        &[
            "action = 'labeldrop'\nregex = '^name$'",
            "source_labels = ['port']\nregex = '(.+)'\ntarget_label = 'name'\nreplacement = 'metrics'",
            "action = 'keep'\nsource_labels = ['name']\nregex = '^metrics$'",
        ],
        r#"name = "metrics", port = "9091""#,
    );
}

#[test]
fn case_is_changed_by_character() {
    let cases = [
        "action = 'uppercase'\nsource_labels = ['a']\ntarget_label = 'up'",
        "action = 'lowercase'\nsource_labels = ['a']\ntarget_label = 'low'",
    ];
    check(r#"a = "bAr123Foo""#, &cases, r#"a = "bAr123Foo", up = "BAR123FOO", low = "bar123foo""#);
    check(r#"a = "ßΣ""#, &cases, r#"a = "ßΣ", up = "ßΣ", low = "ßσ""#);
}

#[test]
fn values_are_joined_by_the_separator() {
    let joined =
        |separator: &str| format!("source_labels = ['a', 'none', 'b']\ntarget_label = 'd'{separator}");
    check(ABC, &[&joined("")], r#"a = "foo", b = "bar", c = "baz", d = "foo;;bar""#);
    check(ABC, &[&joined("\nseparator = ''")], r#"a = "foo", b = "bar", c = "baz", d = "foobar""#);
    check(ABC, &[&joined("\nseparator = '/'")], r#"a = "foo", b = "bar", c = "baz", d = "foo//bar""#);
}

#[test]
fn names_of_actions_come_in_any_case() {
    check(r#"a = "x""#, &["action = 'LabelDrop'\nregex = 'a'"], "");
    refused("action = 'dropp'", r#"unknown relabel action "dropp"; there are replace, keep"#);
}

#[test]
fn what_an_action_needs_or_does_not_take_is_told() {
    refused("action = 'replace'", "relabel rule 1: replace needs a target_label");
    refused("action = 'lowercase'", "lowercase needs a target_label");
    refused("action = 'keepequal'\nsource_labels = ['a']", "keepequal needs a target_label");
    refused("action = 'hashmod'\ntarget_label = 'a'", "hashmod needs a modulus");
    refused("action = 'hashmod'\nmodulus = 3", "hashmod needs a target_label");
    refused("action = 'uppercase'\ntarget_label = 'a'\nreplacement = 'x'", "uppercase takes no replacement");
    refused("action = 'labelmap'\nregex = 'a'\nreplacement = ''", "labelmap needs a replacement");
    refused("source_labels = ['a', '']\ntarget_label = 'b'", "an empty name in source_labels");
    let compared = "action = 'dropequal'\nsource_labels = ['a']\ntarget_label = 'b'";
    for more in ["regex = '(.*)'", "modulus = 2", "separator = '-'"] {
        refused(&format!("{compared}\n{more}"), "dropequal takes source_labels and target_label");
    }
    for more in
        ["source_labels = ['a']", "target_label = 'a'", "separator = '-'", "modulus = 2", "replacement = 'x'"]
    {
        refused(
            &format!("action = 'labelkeep'\nregex = 'a'\n{more}"),
            "labelkeep takes a regex, nothing else",
        );
    }
    // The default, written out, is no more than the default.
    check(ABC, &["action = 'labelkeep'\nregex = 'a'\nseparator = ';'\nreplacement = '$1'"], r#"a = "foo""#);
}

#[test]
fn unknown_keys_and_bad_patterns_are_told() {
    refused("source_label = ['a']", "unknown field `source_label`");
    refused("action = 'keep'\nregex = '('", "regex \"(\": regex parse error");
    refused("action = 'keep'\nregex = 'a)|(b'", "a `)` without its `(`");
}

#[test]
fn what_people_write_is_bounded() {
    refused("action = 'keep'\nregex = '((((a{100}){100}){100}){100})'", "exceeds size limit");
    refused(&format!("action = 'keep'\nregex = '{}a{}'", "(".repeat(80), ")".repeat(80)), "nest");
    refused(&format!("action = 'keep'\nregex = '{}'", "a".repeat(8193)), "regex is 8193 long, at most 8192");
    refused(&format!("target_label = '{}'", "a".repeat(1025)), "target_label is 1025 long");
    refused(
        &format!("source_labels = [{}]\ntarget_label = 'a'", "'a',".repeat(65)),
        "source_labels is 65 long",
    );
    let error = relabel(&rule("target_label = 'a'").repeat(513)).err().unwrap_or_default();
    assert_eq!(error, "513 relabel rules are more than the 512 that are taken");
}

#[test]
fn what_rules_make_of_labels_is_bounded() {
    let doubling = rule("source_labels = ['a', 'a']\nseparator = 'é'\ntarget_label = 'a'").repeat(64);
    let mut grown = labels("a = 'é'");
    assert!(relabel(&doubling).unwrap().apply(&mut grown));
    assert_eq!(grown.get("a").len(), 16384, "cut between two characters");

    let doubling = rule("action = 'labelmap'\nregex = '(.*)'\nreplacement = 'x$1'").repeat(64)
        + &rule("action = 'labelmap'\nregex = '(.*)'\nreplacement = '$1$1'").repeat(64);
    let mut grown = labels("a = '1', b = '2'");
    assert!(relabel(&doubling).unwrap().apply(&mut grown));
    assert!(grown.len() <= 4096, "{}", grown.len());
    assert!(grown.iter().all(|(name, _)| name.len() <= 1024));
}

/// A line of `prometheus.jsonl`: what Prometheus itself (`tests/peers/relabel`) made of rules and labels.
#[derive(Deserialize)]
struct Answered {
    rules: Vec<serde_json::Value>,
    labels: Option<BTreeMap<String, String>>,
    answer: Answer,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Answer {
    labels: BTreeMap<String, String>,
    dropped: bool,
    refused: Option<String>,
}

#[test]
fn rules_have_the_meaning_that_prometheus_gives_them() {
    let mut questions = 0;
    let mut differences = Vec::new();
    for line in include_str!("prometheus.jsonl").lines() {
        let mut question: Answered = serde_json::from_str(line).unwrap();
        // A label without a name, which a labelmap may write there: no database takes it.
        question.answer.labels.remove("");
        let rules: Result<Vec<RelabelConfig>, _> =
            question.rules.into_iter().map(serde_json::from_value).collect();
        let relabel = rules.map_err(|error| error.to_string());
        let relabel = relabel.and_then(|rules| Relabel::new(rules).map_err(|error| error.to_string()));
        let mut changed: Labels = question.labels.unwrap_or_default().into_iter().collect();
        let answer = match relabel {
            // In other words than Prometheus'.
            Err(ours) => {
                Answer { refused: question.answer.refused.clone().or(Some(ours)), ..Answer::default() }
            }
            Ok(relabel) if !relabel.apply(&mut changed) => Answer { dropped: true, ..Answer::default() },
            Ok(_) => {
                let labels =
                    changed.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                Answer { labels, ..Answer::default() }
            }
        };
        if answer != question.answer {
            differences.push(format!("{line}\n  ours: {answer:?}"));
        }
        questions += 1;
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(questions > 600, "{questions}");
}

#[test]
fn rules_that_may_drop_are_told_from_those_that_only_write() {
    let may_drop = |bodies: &[&str]| {
        relabel(&bodies.iter().map(|body| rule(body)).collect::<String>()).unwrap().may_drop()
    };
    let write = r#"source_labels = ["a"]
                   target_label = "b""#;
    let map = r#"action = "labelmap"
                 regex = "a""#;
    assert!(!may_drop(&[write, map]));
    for action in ["keep", "drop"] {
        assert!(may_drop(&[write, &format!("action = \"{action}\"\nsource_labels = [\"a\"]")]));
    }
    for action in ["keepequal", "dropequal"] {
        let body = format!("action = \"{action}\"\nsource_labels = [\"a\"]\ntarget_label = \"b\"");
        assert!(may_drop(&[&body]));
    }
}
