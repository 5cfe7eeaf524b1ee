//! Looks at a quantity over time → how fast it grows, and whether that is more than nothing.
//!
//! A straight line by least squares.
//!
//! ```text
//!   flat     by not more than the limit
//!   grows    by more than the limit, and by more than two standard errors of the slope
//!   unclear  by more than the limit, within two standard errors: a longer run would tell
//! ```
//!
//! Looks that follow one another are alike, so the true error is larger than the one that is told.

use super::figures::number;
use std::fmt;
use std::time::Duration;

const HOUR: f64 = 3600.0;
/// Hours of a day.
const DAY: f64 = 24.0;

/// A straight line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slope {
    /// What is added in an hour.
    pub(super) an_hour: f64,
    pub(super) standard_error: f64,
}

/// See the head of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Flat,
    Grows,
    Unclear,
}

impl Slope {
    /// `None` of fewer than three looks, or of looks all at one time.
    pub(super) fn of(looks: &[(Duration, f64)]) -> Option<Self> {
        let count = number(u64::try_from(looks.len()).ok().filter(|&count| count >= 3)?);
        let hours = |at: Duration| at.as_secs_f64() / HOUR;
        let mean_at = looks.iter().map(|(at, _)| hours(*at)).sum::<f64>() / count;
        let mean = looks.iter().map(|(_, value)| value).sum::<f64>() / count;
        let spread: f64 = looks.iter().map(|(at, _)| (hours(*at) - mean_at).powi(2)).sum();
        if spread == 0.0 {
            return None;
        }
        let together: f64 = looks.iter().map(|(at, value)| (hours(*at) - mean_at) * (value - mean)).sum();
        let an_hour = together / spread;
        let beside = |(at, value): &(Duration, f64)| value - mean - an_hour * (hours(*at) - mean_at);
        let beside: f64 = looks.iter().map(|look| beside(look).powi(2)).sum();
        Some(Self { an_hour, standard_error: (beside / (count - 2.0) / spread).sqrt() })
    }

    /// What is added in 24 hours, if it goes on like that.
    pub(super) fn a_day(self) -> f64 {
        self.an_hour * DAY
    }

    /// Against what counts as nothing.
    pub(super) fn verdict(self, an_hour_max: f64) -> Verdict {
        if self.an_hour <= an_hour_max {
            Verdict::Flat
        } else if self.an_hour > 2.0 * self.standard_error {
            Verdict::Grows
        } else {
            Verdict::Unclear
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flat => "flat",
            Self::Grows => "grows",
            Self::Unclear => "unclear",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look every minute.
    fn looks(values: &[f64]) -> Vec<(Duration, f64)> {
        (0u64..).map(|minute| Duration::from_secs(60 * minute)).zip(values.iter().copied()).collect()
    }

    #[test]
    fn a_line_is_found_again() {
        let slope = Slope::of(&looks(&[5.0, 7.0, 9.0, 11.0])).unwrap();
        assert!((slope.an_hour - 120.0).abs() < 1e-9, "{slope:?}");
        assert!(slope.standard_error < 1e-6, "{slope:?}");
        assert!((slope.a_day() - 2880.0).abs() < 1e-6);
    }

    #[test]
    fn the_error_is_that_of_the_textbook() {
        // 1, 2, 1, 2 at 0..3: slope 0.2 a minute, residuals −0.2, 0.6, −0.6, 0.2, so s² = 0.4 and its error √(0.4 ÷ 5).
        let slope = Slope::of(&looks(&[1.0, 2.0, 1.0, 2.0])).unwrap();
        assert!((slope.an_hour - 12.0).abs() < 1e-9, "{slope:?}");
        assert!((slope.standard_error - (0.4f64 / 5.0).sqrt() * 60.0).abs() < 1e-9, "{slope:?}");
    }

    #[test]
    fn too_few_looks_tell_nothing() {
        assert_eq!(Slope::of(&[]), None);
        assert_eq!(Slope::of(&looks(&[1.0, 2.0])), None);
        assert_eq!(Slope::of(&[(Duration::ZERO, 1.0); 3]), None);
    }

    #[test]
    fn growth_is_told_from_noise() {
        let verdict = |an_hour, standard_error| Slope { an_hour, standard_error }.verdict(10.0).to_string();
        assert_eq!(verdict(10.0, 0.0), "flat");
        assert_eq!(verdict(-50.0, 1.0), "flat");
        assert_eq!(verdict(11.0, 5.0), "grows");
        assert_eq!(verdict(11.0, 6.0), "unclear");
    }
}
