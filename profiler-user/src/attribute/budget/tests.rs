//! Windows of many sets: the bound holds, nothing is lost, and nobody changes sides for noise.

use expect_test::expect;

use super::*;

fn host() -> HostLabels {
    HostLabels {
        instance: "host-1".into(),
        static_labels: [("region", "eu")].into_iter().collect(),
        ..HostLabels::default()
    }
}

/// The set of service number `number`; every third is Go.
fn set(number: u64) -> Arc<Labels> {
    let language = if number.is_multiple_of(3) { "go" } else { "native" };
    let service = format!("s{number:04}");
    let labels = [
        (SERVICE_NAME, service.as_str()),
        (LANGUAGE, language),
        (INSTANCE, "host-1"),
        ("region", "eu"),
        ("pod", "p"),
    ];
    Arc::new(labels.into_iter().collect())
}

/// Weight by delivered series; checks that none was lost and that the bound holds.
fn delivered(
    budget: &mut LabelBudget,
    weights: &[(Arc<Labels>, u64)],
) -> (HashMap<Arc<Labels>, u64>, Folded) {
    let folded = budget.fold(weights);
    let mut series: HashMap<Arc<Labels>, u64> = HashMap::new();
    for (labels, weight) in weights {
        *series.entry(Arc::clone(folded.series(labels))).or_default() += weight;
    }
    let sum = |weights: &mut dyn Iterator<Item = &u64>| weights.sum::<u64>();
    assert_eq!(sum(&mut series.values()), sum(&mut weights.iter().map(|(_, weight)| weight)));
    assert!(series.len() <= budget.sets_max, "{} series, at most {}", series.len(), budget.sets_max);
    let others = series.iter().filter(|(labels, _)| labels.get(SERVICE_NAME) == OTHER);
    assert_eq!(sum(&mut others.map(|(_, weight)| weight)), folded.weight);
    (series, folded)
}

#[test]
fn the_smallest_go_to_other_by_language() {
    let mut budget = LabelBudget::new(10, &host());
    let weights: Vec<_> = (1..=15).map(|number| (set(number), number * 10)).collect();
    let (series, folded) = delivered(&mut budget, &weights);
    let mut lines: Vec<String> = series
        .iter()
        .filter(|(labels, _)| labels.get(SERVICE_NAME) == OTHER)
        .map(|(labels, weight)| format!("{weight} {labels}\n"))
        .collect();
    lines.sort();
    expect![[r#"
        190 {instance="host-1", language="native", region="eu", service_name="other"}
        90 {instance="host-1", language="go", region="eu", service_name="other"}
    "#]]
    .assert_eq(&lines.concat());
    assert_eq!((series.len(), folded.sets, folded.weight), (10, 7, 280));
}

#[test]
fn within_the_budget_nothing_is_folded() {
    let mut budget = LabelBudget::new(10, &host());
    let weights: Vec<_> = (1..=10).map(|number| (set(number), number)).collect();
    let (series, folded) = delivered(&mut budget, &weights);
    assert_eq!((series.len(), folded.sets, folded.weight), (10, 0, 0));
    assert_eq!(delivered(&mut budget, &[]).0.len(), 0);
}

/// Some numbers without a pattern, the same on every run.
fn noise(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 40
}

/// How often a service that was there in two windows in a row had a series of its own in one and not in the other.
fn changes_of_side(
    windows: u64,
    sets_max: usize,
    mut weights: impl FnMut(u64) -> Vec<(Arc<Labels>, u64)>,
) -> usize {
    let mut budget = LabelBudget::new(sets_max, &host());
    let mut before: HashMap<Arc<Labels>, bool> = HashMap::new();
    let mut changes = 0;
    for window in 0..windows {
        let weights = weights(window);
        let (_, folded) = delivered(&mut budget, &weights);
        let own: HashMap<_, _> =
            weights.iter().map(|(labels, _)| (Arc::clone(labels), folded.series(labels) == labels)).collect();
        if window > 0 {
            changes += own
                .iter()
                .filter(|(labels, own)| before.get(*labels).is_some_and(|before| before != *own))
                .count();
        }
        before = own;
    }
    changes
}

#[test]
fn noise_moves_nobody_across_the_bound() {
    let mut seed = 1;
    // Three hundred alike, each a third more or less from window to window.
    let changes = changes_of_side(200, 50, |_| {
        (0..300).map(|number| (set(number), 100 + noise(&mut seed) % 70)).collect()
    });
    assert_eq!(changes, 0);
}

#[test]
fn a_number_of_services_that_swings_around_the_bound_moves_nobody_to_and_fro() {
    // 49 to 52 services at 50 places: the last few come and go.
    let changes = changes_of_side(200, 50, |window| {
        (0..49 + window % 4).map(|number| (set(number), 1000 - number)).collect()
    });
    // Once, when the bound is met first: the others' series need two places.
    assert!(changes <= 4, "{changes} changes");
}

#[test]
fn who_has_grown_for_good_gets_a_series() {
    let mut budget = LabelBudget::new(5, &host());
    let weights = |newcomer: u64| -> Vec<_> {
        (0..10).map(|number| (set(number), if number == 9 { newcomer } else { 100 - number })).collect()
    };
    let has_own = |budget: &mut LabelBudget, newcomer| {
        let weights = weights(newcomer);
        let folded = budget.fold(&weights);
        folded.series(&set(9)) == &set(9)
    };
    assert!(!has_own(&mut budget, 1));
    assert!(!has_own(&mut budget, 150), "one window of more is not enough");
    let windows = (1..20).take_while(|_| !has_own(&mut budget, 300)).count();
    assert!(windows <= 4, "{windows}");
    assert!(has_own(&mut budget, 120), "and keeps it");
}

#[test]
fn a_place_is_held_for_some_windows_and_then_given_up() {
    let mut budget = LabelBudget::new(8, &host());
    let busy: Vec<_> = (0..10).map(|number| (set(number), 1000 - number)).collect();
    (0..8).for_each(|_| drop(budget.fold(&busy)));
    let without_first = &busy[1..];
    let has_own = |folded: &Folded, number| folded.series(&set(number)) == &set(number);
    let folded = budget.fold(without_first);
    assert!(!has_own(&folded, 6), "nobody takes the place of one that is idle for a window");
    assert!(has_own(&budget.fold(&busy), 0), "which has it again");
    let folded = (0..8).map(|_| budget.fold(without_first)).last().unwrap();
    assert!(has_own(&folded, 6));
}

#[test]
fn labels_that_tell_everything_apart_are_no_help() {
    let mut budget = LabelBudget::new(8, &host());
    let weights: Vec<_> = (0..50)
        .map(|number: u64| {
            let mut labels = (*set(number)).clone();
            labels.set(LANGUAGE, format!("l{number}"));
            (Arc::new(labels), number)
        })
        .collect();
    let (series, folded) = delivered(&mut budget, &weights);
    assert_eq!((series.len(), folded.sets), (8, 43));
    for sets_max in [0, 1, 2, 3] {
        delivered(&mut LabelBudget::new(sets_max, &host()), &weights);
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut budget = LabelBudget::new(4, &host());
    for window in 0..100 {
        let weights: Vec<_> = (0..100).map(|number| (set(window * 100 + number), number + 1)).collect();
        delivered(&mut budget, &weights);
        assert!(budget.known.len() <= 4 * REMEMBERED_A_SET);
    }
}
