//! Figures → the table that a person reads.

use super::figures::{Figure, Spread, Target, spread};
use super::paired::Paired;
use super::perf::SCRIPT_MAX;

/// Aligned columns under a head; perf has one only if it was measured.
pub(super) fn table(figures: &[Figure]) -> String {
    let head = ["", "flamekeeper", "perf", "target", "verdict"].map(str::to_owned);
    let has_perf = figures.iter().any(|figure| !figure.perf.is_empty());
    let rows: Vec<Vec<String>> = std::iter::once(head)
        .chain(figures.iter().map(row))
        .map(|[name, ours, theirs, target, verdict]| {
            if has_perf {
                vec![name, ours, theirs, target, verdict]
            } else {
                vec![name, ours, target, verdict]
            }
        })
        .collect();
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn row(figure: &Figure) -> [String; 5] {
    let shown = |rounds: &[f64]| cell(rounds, figure.target, figure.decimals);
    let target = match figure.target {
        Target::None => String::new(),
        Target::AtMost(most) => format!("≤ {most}"),
        Target::AtMostPerf => "≤ perf's".to_owned(),
        Target::NotShown => Paired::of(&figure.flamekeeper).map_or_else(String::new, |paired| {
            format!("< {:.*}, which these runs can show", figure.decimals, paired.least_shown())
        }),
    };
    let verdict = match figure.is_reached {
        Some(true) => "reached",
        Some(false) => "missed",
        None => "",
    };
    [figure.name.clone(), shown(&figure.flamekeeper), shown(&figure.perf), target, verdict.to_owned()]
}

/// `median [least–most]`, of one round itself; of differences `mean ± standard error, t`.
fn cell(rounds: &[f64], target: Target, decimals: usize) -> String {
    if target == Target::NotShown
        && let Some(paired) = Paired::of(rounds)
    {
        let Paired { mean, standard_error } = paired;
        return format!("{mean:.decimals$} ± {standard_error:.decimals$}, t = {:.1}", paired.t());
    }
    let Some(Spread { least, median, most }) = spread(rounds) else { return "—".to_owned() };
    let number = |value: f64| {
        if value.is_finite() { format!("{value:.decimals$}") } else { format!("> {}", SCRIPT_MAX.as_secs()) }
    };
    match rounds {
        [only] => number(*only),
        _ => format!("{} [{}–{}]", number(median), number(least), number(most)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn columns_are_aligned_and_missing_figures_are_a_dash() {
        let figures = [
            Figure::new("start, s", 2, vec![0.1, 0.3, 0.2]).judged(Target::AtMost(0.5)),
            Figure::new("… of perf script", 2, vec![1.0, 1.0])
                .beside(vec![2.0, f64::INFINITY])
                .judged(Target::AtMostPerf),
            Figure::new("peak, MB", 2, vec![70.0]).beside(vec![6.0]).judged(Target::AtMost(60.0)),
            Figure::new("µs a run", 2, vec![1.5]),
        ];
        expect![[r#"
                              flamekeeper       perf                target    verdict
            start, s          0.20 [0.10–0.30]  —                   ≤ 0.5     reached
            … of perf script  1.00 [1.00–1.00]  > 300 [2.00–> 300]  ≤ perf's  reached
            peak, MB          70.00             6.00                ≤ 60      missed
            µs a run          1.50              —
        "#]]
        .assert_eq(&table(&figures));
    }

    #[test]
    fn differences_are_shown_with_what_chance_does() {
        let figures = [
            Figure::new("slower, %", 2, vec![1.0, -1.0, 2.0, -1.5]).judged(Target::NotShown),
            Figure::new("slower, %", 2, vec![1.0, 1.1, 0.9, 1.0]).judged(Target::NotShown),
        ];
        expect![[r#"
                       flamekeeper            target                             verdict
            slower, %  0.12 ± 0.83, t = 0.2   < 1.65, which these runs can show  reached
            slower, %  1.00 ± 0.04, t = 24.5  < 0.08, which these runs can show  missed
        "#]]
        .assert_eq(&table(&figures));
    }
}
