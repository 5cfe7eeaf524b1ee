//! Figures → the table that a person reads.

use super::figures::{Figure, Spread, Target, spread};
use super::perf::SCRIPT_MAX;

/// Aligned columns under a head.
pub(super) fn table(figures: &[Figure]) -> String {
    let head = ["", "flamekeeper", "perf", "target", "verdict"].map(str::to_owned);
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(figures.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let line = |row: &[String; 5]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn row(figure: &Figure) -> [String; 5] {
    let shown = |rounds: &[f64]| {
        spread(rounds).map_or_else(|| "—".to_owned(), |spread| cell(spread, figure.decimals))
    };
    let target = match figure.target {
        Target::None => String::new(),
        Target::AtMost(most) => format!("≤ {most}"),
        Target::AtMostPerf => "≤ perf's".to_owned(),
    };
    let verdict = match figure.is_reached {
        Some(true) => "reached",
        Some(false) => "missed",
        None => "",
    };
    [figure.name.to_owned(), shown(&figure.flamekeeper), shown(&figure.perf), target, verdict.to_owned()]
}

/// `median [least–most]`
fn cell(Spread { least, median, most }: Spread, decimals: usize) -> String {
    let number = |value: f64| {
        if value.is_finite() { format!("{value:.decimals$}") } else { format!("> {}", SCRIPT_MAX.as_secs()) }
    };
    format!("{} [{}–{}]", number(median), number(least), number(most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn columns_are_aligned_and_missing_figures_are_a_dash() {
        let figure = |name, flamekeeper, perf, target, is_reached| Figure {
            name,
            flamekeeper,
            perf,
            target,
            is_reached,
            decimals: 2,
        };
        let figures = [
            figure("start, s", vec![0.1, 0.3, 0.2], vec![], Target::AtMost(0.5), Some(true)),
            figure("… of perf script", vec![1.0], vec![2.0, f64::INFINITY], Target::AtMostPerf, Some(true)),
            figure("peak, MB", vec![70.0], vec![6.0], Target::AtMost(60.0), Some(false)),
            figure("µs a run", vec![1.5], vec![], Target::None, None),
        ];
        expect![[r#"
                              flamekeeper          perf                target    verdict
            start, s          0.20 [0.10–0.30]     —                   ≤ 0.5     reached
            … of perf script  1.00 [1.00–1.00]     > 300 [2.00–> 300]  ≤ perf's  reached
            peak, MB          70.00 [70.00–70.00]  6.00 [6.00–6.00]    ≤ 60      missed
            µs a run          1.50 [1.50–1.50]     —
        "#]]
        .assert_eq(&table(&figures));
    }
}
