//! When a retraining of the search is given up: what it has reached then is measured as it is. A function of the run alone, so the answer
//! stays one of the widths alone.

use crate::train::Progress;
use std::collections::VecDeque;

/// A retraining is hopeless, and ends, when after this share of its updates ...
const PROBATION: f64 = 1.0 / 3.0;
/// ... the mean accuracy of the last updates ...
const LAST_UPDATES: usize = 8;
/// ... is below this share of the float network's share of right classes.
const HOPELESS: f32 = 0.5;

/// The three as text, for the keys of stored evaluations.
pub(super) fn ending_rule() -> String {
    format!("{PROBATION} {LAST_UPDATES} {HOPELESS}")
}

/// The last updates of a run.
pub(super) struct Probation {
    /// Share of right classes of the float network.
    float: f32,
    recent: VecDeque<f32>,
}

impl Probation {
    pub(super) fn new(float: f32) -> Self {
        Probation { float, recent: VecDeque::with_capacity(LAST_UPDATES) }
    }

    /// Notes an update; whether the run is to end with it.
    pub(super) fn is_hopeless(&mut self, progress: &Progress) -> bool {
        if self.recent.len() == LAST_UPDATES {
            self.recent.pop_front();
        }
        self.recent.push_back(progress.accuracy);
        let is_judged =
            progress.step == (PROBATION * progress.steps as f64) as usize && self.recent.len() == LAST_UPDATES;
        let mean = self.recent.iter().sum::<f32>() / self.recent.len() as f32;
        is_judged && mean < HOPELESS * self.float
    }
}
