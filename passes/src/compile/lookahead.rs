//! While one method of the comparison waits for an answer, other processes work on what the methods after it will ask.
//!
//! A method is a function of the answers. So the next question of a later one is found by running it on the answers that are known by
//! now: the first one that is missing is its next question. Nothing of such a run is kept, so what methods find does not depend on it.

use crate::search::baselines;
use crate::search::ledger::Terms;
use crate::search::{Answers, Baseline, Environment, Evaluation, LayerFacts, Question, SearchError};
use releqc_runtime::BitWidth;
use std::cell::RefCell;

/// An environment that asks ahead for the methods that follow.
pub(super) struct Lookahead<'a, E> {
    pub(super) inner: &'a mut E,
    /// The methods that follow.
    pub(super) later: &'a [Baseline],
    pub(super) terms: &'a Terms<'a>,
    pub(super) answers: &'a RefCell<Answers>,
    /// Key of the evaluations.
    pub(super) key: &'a str,
}

impl<E: Environment> Environment for Lookahead<'_, E> {
    fn layers(&self) -> &[LayerFacts] {
        self.inner.layers()
    }

    fn widths(&self) -> &[BitWidth] {
        self.inner.widths()
    }

    fn evaluate(&mut self, widths: &[BitWidth]) -> Result<Evaluation, SearchError> {
        self.inner.ask(widths)?;
        for baseline in self.later {
            let mut known = Known {
                layers: self.inner.layers(),
                widths: self.inner.widths(),
                answers: self.answers,
                key: self.key,
            };
            baselines::run(&mut known, self.terms, baseline)?;
        }
        self.inner.evaluate(widths)
    }

    fn ask(&mut self, widths: &[BitWidth]) -> Result<(), SearchError> {
        self.inner.ask(widths)
    }
}

/// Answers what is known, and gives up at what is not, once it is asked for.
struct Known<'a> {
    layers: &'a [LayerFacts],
    widths: &'a [BitWidth],
    answers: &'a RefCell<Answers>,
    key: &'a str,
}

impl Environment for Known<'_> {
    fn layers(&self) -> &[LayerFacts] {
        self.layers
    }

    fn widths(&self) -> &[BitWidth] {
        self.widths
    }

    fn evaluate(&mut self, widths: &[BitWidth]) -> Result<Evaluation, SearchError> {
        let known = self.answers.borrow_mut().store().evaluation(self.key, widths)?;
        match known {
            Some(evaluation) => Ok(evaluation),
            None => {
                self.ask(widths)?;
                Err(SearchError::Interrupted)
            }
        }
    }

    fn ask(&mut self, widths: &[BitWidth]) -> Result<(), SearchError> {
        self.answers.borrow_mut().ask(&Question::evaluation(self.key, widths))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::board::Board;
    use crate::search::{Answer, CostModel, EvaluationStore, Reward, Stored};
    use std::time::Duration;

    /// Layers of which the first loses most.
    struct Falling {
        layers: Vec<LayerFacts>,
        widths: Vec<BitWidth>,
    }

    impl Falling {
        fn new() -> Self {
            let layer = |index: usize| LayerFacts {
                name: format!("layer{index}"),
                outputs: 4,
                inputs: 4,
                kernel: 3,
                weights: 100,
                macs: 100,
                weight_std: 0.1,
            };
            Falling { layers: (0..4).map(layer).collect(), widths: BitWidth::all().collect() }
        }
    }

    impl Environment for Falling {
        fn layers(&self) -> &[LayerFacts] {
            &self.layers
        }

        fn widths(&self) -> &[BitWidth] {
            &self.widths
        }

        fn evaluate(&mut self, widths: &[BitWidth]) -> Result<Evaluation, SearchError> {
            let loss = |(layer, width): (usize, &BitWidth)| 0.5f64.powi(i32::from(width.bits()) + layer as i32);
            let lost: f64 = widths.iter().enumerate().map(loss).sum();
            Ok(Evaluation { accuracy: 0.9 - lost / 100.0, samples: 0, standard_error: None, cached: false })
        }
    }

    #[test]
    fn the_next_questions_of_later_methods_are_open_and_all_find_what_they_find_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = EvaluationStore::open(folder.path()).unwrap();
        let mut board = Board::open(folder.path(), "asker", Duration::from_secs(60)).unwrap();
        board.announce("task", b"", b"").unwrap();
        let answers = RefCell::new(Answers::new(store, Some(board)));
        let all = [
            Baseline::Uniform,
            Baseline::SensitivityGreedy { profile: None },
            Baseline::IntegerProgramme { profile: None },
            Baseline::Random { seed: 1 },
        ];
        let cost = CostModel::mean(4);
        let terms = Terms {
            reward: Reward::constrained(0.3).unwrap(),
            cost: &cost,
            constraints: &[],
            reference: Some(0.9),
            evaluations: 12,
            parallel: 2,
            stop: &|| false,
        };
        let open = || Board::jobs_of(folder.path(), "task").unwrap().len();
        let mut most = 0;
        for (index, baseline) in all.iter().enumerate() {
            let watched = Watched { inner: Falling::new(), open: &open, most: &mut most };
            let mut stored = Stored::new(watched, &answers, "k".into(), &|| false);
            let later = &all[index + 1..];
            let mut ahead = Lookahead { inner: &mut stored, later, terms: &terms, answers: &answers, key: "k" };
            let found = baselines::run(&mut ahead, &terms, baseline).unwrap().evaluations;
            let alone = baselines::run(&mut Falling::new(), &terms, baseline).unwrap().evaluations;
            let widths =
                |found: &[crate::search::Evaluated]| found.iter().map(|e| e.widths.clone()).collect::<Vec<_>>();
            assert_eq!(widths(&found), widths(&alone), "{}", baseline.name());
            assert_eq!(open() == 0, later.is_empty(), "what later methods ask stays open, and all of it is asked");
        }
        assert!(most >= 4, "the questions of several methods are open at once: {most}");
        let mut known = answers.borrow_mut();
        let kept = known.store().get(&Question::evaluation("k", &[BitWidth::MAX; 4])).unwrap();
        assert!(matches!(kept, Some(Answer::Evaluation(_))));
    }

    /// Counts the open questions whenever one is answered.
    struct Watched<'a> {
        inner: Falling,
        open: &'a dyn Fn() -> usize,
        most: &'a mut usize,
    }

    impl Environment for Watched<'_> {
        fn layers(&self) -> &[LayerFacts] {
            self.inner.layers()
        }

        fn widths(&self) -> &[BitWidth] {
            self.inner.widths()
        }

        fn evaluate(&mut self, widths: &[BitWidth]) -> Result<Evaluation, SearchError> {
            *self.most = (*self.most).max((self.open)());
            self.inner.evaluate(widths)
        }
    }
}
