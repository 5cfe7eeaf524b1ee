//! Events → which of them are written: a call-site that has said the same for the same reason a moment ago is silent.
//!
//! Each call-site has a small stock of lines, of which one comes back a minute. Where an event has a field `cause`, `reason` or
//! `endpoint`, each of their values has a stock of its own, of one line. What was swallowed is told by the next line
//! of its kind. Debug and trace are never swallowed: who asks for them wants all of it.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use crate::host::MonotonicNanos;

/// One line comes back in this time.
const REFILL: Duration = Duration::from_secs(60);
/// Lines in a row of a call-site without a cause.
const STOCK: u32 = 5;
/// Fields by which lines of one call-site are told apart.
const CAUSES: [&str; 3] = ["cause", "reason", "endpoint"];
/// Kinds of lines that are told apart; beyond that the stock is shared.
const KINDS_MAX: usize = 1_024;

/// What a stock is kept for; `None` for all that found no place.
type Kind = Option<(Identifier, u64)>;

#[derive(Debug)]
struct Stock {
    left: u32,
    full: u32,
    counted_at: MonotonicNanos,
    swallowed: u64,
}

/// Stocks of lines.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    stocks: Mutex<HashMap<Kind, Stock>>,
}

impl Throttle {
    /// Whether to write an event, and how many of its kind were swallowed before it.
    pub(super) fn admit(&self, event: &Event<'_>, now: MonotonicNanos) -> Option<u64> {
        if *event.metadata().level() > Level::INFO {
            return Some(0);
        }
        let mut causes = Causes { hasher: DefaultHasher::new(), found: false };
        event.record(&mut causes);
        let full = if causes.found { 1 } else { STOCK };
        self.take(Some((event.metadata().callsite(), causes.hasher.finish())), full, now)
    }

    fn take(&self, kind: Kind, full: u32, now: MonotonicNanos) -> Option<u64> {
        let mut stocks = self.stocks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kind = kind;
        if stocks.len() >= KINDS_MAX && !stocks.contains_key(&kind) {
            stocks.retain(|_, stock| !stock.is_forgettable(now));
            if stocks.len() >= KINDS_MAX {
                kind = None;
            }
        }
        let new = || Stock { left: full, full, counted_at: now, swallowed: 0 };
        stocks.entry(kind).or_insert_with(new).take(now)
    }
}

impl Stock {
    fn take(&mut self, now: MonotonicNanos) -> Option<u64> {
        let back = self.refilled(now);
        if back > 0 {
            self.left = self.left.saturating_add(back).min(self.full);
            self.counted_at = now;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Some(std::mem::take(&mut self.swallowed))
            }
            None => {
                self.swallowed = self.swallowed.saturating_add(1);
                None
            }
        }
    }

    fn refilled(&self, now: MonotonicNanos) -> u32 {
        let waited = u128::from(now.0.saturating_sub(self.counted_at.0));
        u32::try_from(waited / REFILL.as_nanos()).unwrap_or(u32::MAX)
    }

    /// Full again, and nothing left to tell: a new one would be the same.
    fn is_forgettable(&self, now: MonotonicNanos) -> bool {
        self.swallowed == 0 && self.left.saturating_add(self.refilled(now)) >= self.full
    }
}

/// The values of the fields that tell lines apart.
struct Causes {
    hasher: DefaultHasher,
    found: bool,
}

impl Visit for Causes {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if CAUSES.contains(&field.name()) {
            self.found = true;
            self.hasher.write(field.name().as_bytes());
            // A value that cannot be written counts as what was written of it.
            let _partly = fmt::write(&mut Hashed(&mut self.hasher), format_args!("{value:?}"));
        }
    }
}

struct Hashed<'a>(&'a mut DefaultHasher);

impl fmt::Write for Hashed<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonotonicNanos {
        MonotonicNanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_stock_comes_back_by_and_by() {
        let throttle = Throttle::default();
        let take = |seconds| throttle.take(None, 2, at(seconds));
        assert_eq!([take(100), take(100), take(100), take(159)], [Some(0), Some(0), None, None]);
        assert_eq!([take(160), take(160)], [Some(2), None]);
        assert_eq!(
            [take(10_000), take(10_000), take(10_000)],
            [Some(1), Some(0), None],
            "never more than full"
        );
    }
}
