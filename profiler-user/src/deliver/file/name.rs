//! A host and a time → the name of the file that is written when none was asked for.
//!
//! Dates are computed here: one conversion does not pay for a calendar crate.

use crate::host::WallNanos;

/// `flamekeeper-<host>-<time>.pb.gz`; of the host's name only what is safe in a file name.
pub fn default_name(host: &str, at: WallNanos) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    // 64: the longest host name that Linux has (HOST_NAME_MAX); what is longer is no host name.
    let host: String = host.chars().take(64).map(safe).collect();
    let host = if host.is_empty() { "host" } else { &host };
    format!("flamekeeper-{host}-{}.pb.gz", utc_compact(at))
}

/// A time as `20261122T001530Z`: ISO 8601's basic form, to the second, sorts by time.
pub fn utc_compact(at: WallNanos) -> String {
    let seconds = at.0 / 1_000_000_000;
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Days since 1970-01-01 → year, month, day of the Gregorian calendar.
///
/// Counts in years that begin on 1 March, so that the leap day is a year's last; 400 of them are always
/// 146,097 days, and 1970-01-01 is day 719,468 after 1 March of year 0.
fn civil_date(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    // Leap days before this one: every 4th year (1,461 days), not the 100th (36,524), but the 400th.
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // March to July and August to December are both 31 30 31 30 31 = 153 days.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, next_year) =
        if month_from_march < 10 { (month_from_march + 3, 0) } else { (month_from_march - 9, 1) };
    (era * 400 + year_of_era + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> String {
        utc_compact(WallNanos(seconds * 1_000_000_000 + 999_999_999))
    }

    #[test]
    fn known_moments() {
        // Seconds by `date -u -d '…' +%s`.
        assert_eq!(at(0), "19700101T000000Z");
        assert_eq!(at(951_782_399), "20000228T235959Z");
        assert_eq!(at(951_782_400), "20000229T000000Z");
        assert_eq!(at(951_868_800), "20000301T000000Z");
        assert_eq!(at(1_798_761_599), "20261231T235959Z");
        assert_eq!(at(1_798_761_600), "20270101T000000Z");
        assert_eq!(at(4_107_542_399), "21000228T235959Z");
        assert_eq!(at(4_107_542_400), "21000301T000000Z");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let lengths = |year: u64| {
            let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
            [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        };
        let mut day = 0;
        for year in 1970..2470 {
            for (month, length) in (1..).zip(lengths(year)) {
                for day_of_month in 1..=length {
                    assert_eq!(civil_date(day), (year, month, day_of_month));
                    day += 1;
                }
            }
        }
    }

    #[test]
    fn a_name_has_no_surprises_in_it() {
        let name = |host| default_name(host, WallNanos(0));
        assert_eq!(name("web-1.example"), "flamekeeper-web-1.example-19700101T000000Z.pb.gz");
        assert_eq!(name("../a b/ü"), "flamekeeper-.._a_b__-19700101T000000Z.pb.gz");
        assert_eq!(name(""), "flamekeeper-host-19700101T000000Z.pb.gz");
        assert!(name(&"x".repeat(500)).len() < 255);
    }
}
