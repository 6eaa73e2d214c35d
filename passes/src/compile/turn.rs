//! The time of one method of a comparison, where all get the same.

use releqc_runtime::BitWidth;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Whose turn it is to ask, and for how long. An answer that another method has paid for costs what it has cost then.
#[derive(Debug)]
pub(super) struct Turn {
    /// `None` counts evaluations, not time.
    limit: Cell<Option<Duration>>,
    start: Cell<Instant>,
    charged: Cell<Duration>,
    /// Answers of this turn that were kept by an earlier run, which nobody has timed.
    untimed: Cell<u32>,
    prices: RefCell<BTreeMap<Vec<BitWidth>, Duration>>,
}

impl Turn {
    /// Before the first turn.
    pub(super) fn new() -> Self {
        Turn {
            limit: Cell::default(),
            start: Cell::new(Instant::now()),
            charged: Cell::default(),
            untimed: Cell::default(),
            prices: RefCell::default(),
        }
    }

    /// The next method asks for at most `limit`.
    pub(super) fn begin(&self, limit: Option<Duration>) {
        self.limit.set(limit);
        self.start.set(Instant::now());
        self.charged.set(Duration::ZERO);
        self.untimed.set(0);
    }

    /// An answer took this time now; `stored` where it was known before.
    pub(super) fn answered(&self, widths: &[BitWidth], took: Duration, stored: bool) {
        let mut prices = self.prices.borrow_mut();
        if !stored {
            prices.insert(widths.to_vec(), took);
        } else if let Some(price) = prices.get(widths) {
            self.charged.set(self.charged.get() + *price);
        } else {
            self.untimed.set(self.untimed.get() + 1);
        }
    }

    /// What it has taken so far, with what others have paid for it. What an earlier run has paid for counts as the mean of this one.
    pub(super) fn taken(&self) -> Duration {
        let prices = self.prices.borrow();
        let mean = prices.values().sum::<Duration>() / prices.len().max(1) as u32;
        self.start.get().elapsed() + self.charged.get() + mean * self.untimed.get()
    }

    /// Time left; `None` without a limit.
    pub(super) fn left(&self) -> Option<Duration> {
        self.limit.get().map(|limit| limit.saturating_sub(self.taken()))
    }

    pub(super) fn is_over(&self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_paid_for_is_charged_to_whoever_asks_again() {
        let turn = Turn::new();
        let [seconds, hour] = [Duration::from_secs(30), Duration::from_secs(3600)];
        let widths = |bits| vec![BitWidth::new(bits).expect("2..=8")];
        turn.begin(Some(hour));
        turn.answered(&widths(2), seconds, false);
        assert!(turn.taken() < seconds, "the clock counts what is computed now");
        turn.begin(Some(2 * seconds));
        assert!(!turn.is_over());
        turn.answered(&widths(2), Duration::ZERO, true);
        assert!(turn.taken() >= seconds && !turn.is_over());
        turn.answered(&widths(3), Duration::ZERO, true);
        assert!(turn.is_over(), "an earlier run has paid about as much for the other");
        turn.begin(None);
        assert!(turn.left().is_none() && !turn.is_over());
    }
}
