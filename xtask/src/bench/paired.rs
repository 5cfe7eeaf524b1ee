//! Differences of pairs of runs → their mean, how far chance moves it, and whether more than chance is seen.

/// The mean of differences, and its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Paired {
    pub(super) mean: f64,
    pub(super) standard_error: f64,
}

/// Standard errors that chance alone exceeds once in twenty times; for few pairs a little more often.
const BEYOND_CHANCE: f64 = 2.0;

impl Paired {
    /// `None` of less than two pairs: one alone does not tell how far chance goes.
    pub(super) fn of(differences: &[f64]) -> Option<Self> {
        let count = f64::from(u32::try_from(differences.len()).ok()?);
        if count < 2.0 {
            return None;
        }
        let mean = differences.iter().sum::<f64>() / count;
        let squares: f64 = differences.iter().map(|difference| (difference - mean).powi(2)).sum();
        Some(Self { mean, standard_error: (squares / (count - 1.0) / count).sqrt() })
    }

    /// Student's: how many standard errors the mean is from zero.
    pub(super) fn t(self) -> f64 {
        if self.mean == 0.0 { 0.0 } else { self.mean / self.standard_error }
    }

    /// Whether these pairs show that there is a cost.
    pub(super) fn is_shown_to_cost(self) -> bool {
        self.t() > BEYOND_CHANCE
    }

    /// The least cost that pairs which scatter like these would have shown.
    pub(super) fn least_shown(self) -> f64 {
        BEYOND_CHANCE * self.standard_error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_standard_error_are_those_of_the_textbook() {
        // Differences 1, 2, 3, 4: variance 5/3, standard error √(5/12).
        let paired = Paired::of(&[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(paired.mean, 2.5);
        assert!((paired.standard_error - (5.0_f64 / 12.0).sqrt()).abs() < 1e-12);
        assert!((paired.t() - 3.872_983_346_207_417).abs() < 1e-12);
        assert!((paired.least_shown() - 1.290_994_448_735_806).abs() < 1e-12);
        assert!(paired.is_shown_to_cost());
    }

    #[test]
    fn a_gain_is_no_cost() {
        assert!(!Paired::of(&[-1.0, -2.0, -3.0, -4.0]).unwrap().is_shown_to_cost());
    }

    #[test]
    fn equal_differences_are_beyond_chance_unless_they_are_zero() {
        assert!(Paired::of(&[1.0, 1.0]).unwrap().is_shown_to_cost());
        assert!(!Paired::of(&[0.0, 0.0]).unwrap().is_shown_to_cost());
    }

    #[test]
    fn one_pair_tells_nothing() {
        assert_eq!(Paired::of(&[1.0]), None);
        assert_eq!(Paired::of(&[]), None);
    }
}
