//! What a worker does: it takes the open questions of a board and answers them, until it is told to leave.

use super::board::Board;
use super::environment::SearchError;
use super::question::Question;
use super::store::{Answer, EvaluationStore, Kept};
use std::collections::BTreeSet;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

/// A job that a worker has done.
#[derive(Clone, Debug)]
pub struct Done {
    /// What was asked.
    pub question: Question,
    /// What was found.
    pub answer: Answer,
    /// What became of it.
    pub kept: Kept,
    /// How long it took.
    pub time: Duration,
}

/// How a worker gets to know when to leave, and says what it has done.
pub struct Shift<'a> {
    /// Gets every job done.
    pub told: &'a mut dyn FnMut(&Done),
    /// Asked before every job with the time without one; true ends the shift.
    pub leave: &'a mut dyn FnMut(Duration) -> bool,
}

impl fmt::Debug for Shift<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shift").finish_non_exhaustive()
    }
}

/// How often a worker without a job looks for one.
const LOOK: Duration = Duration::from_millis(50);

/// Answers the open questions of a board until it is told to leave. `compute` says `None` to a question that is none of its own.
///
/// # Errors
/// Of the store and of `compute`. A question that is given up is free for others.
pub fn work_off(
    board: &Board,
    store: &mut EvaluationStore,
    compute: &mut dyn FnMut(&Question) -> Result<Option<Answer>, SearchError>,
    shift: &mut Shift<'_>,
) -> Result<(), SearchError> {
    let _present = board.attend()?;
    let mut idle = Instant::now();
    let mut refused = BTreeSet::new();
    while !(shift.leave)(idle.elapsed()) {
        board.renew()?;
        let mut worked = false;
        for job in board.jobs()? {
            let question = job.question;
            if refused.contains(&question) {
                continue;
            }
            let Some(claim) = board.claim(&question)? else { continue };
            if store.get(&question)?.is_some() {
                // Answered between the list and the claim, or by a process that was killed before it could say so.
                board.withdraw(&question)?;
                continue;
            }
            let start = Instant::now();
            let Some(answer) = compute(&question)? else {
                refused.insert(question);
                continue;
            };
            let kept = store.put(&question, &answer)?;
            board.withdraw(&question)?;
            drop(claim);
            (shift.told)(&Done { question, answer, kept, time: start.elapsed() });
            (worked, idle) = (true, Instant::now());
            break;
        }
        if !worked {
            board.sweep_when_due(store)?;
            thread::sleep(LOOK);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::answers::{Answers, Stored};
    use crate::search::environment::Environment;
    use crate::search::tests::Additive;
    use releqc_runtime::BitWidth;
    use std::cell::RefCell;
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const LEASE: Duration = Duration::from_millis(300);

    fn widths(bits: u8, depth: usize) -> Vec<BitWidth> {
        vec![BitWidth::new(bits).expect("2..=8"); depth]
    }

    /// A worker in a thread: answers until `enough` says so.
    fn worker(folder: &Path, owner: &str, computed: &AtomicUsize, enough: &dyn Fn() -> bool) {
        let mut board = Board::open(folder, owner, LEASE).expect("opens");
        board.enter("task").expect("enters");
        let mut store = EvaluationStore::open(folder).expect("opens");
        let mut network = Additive::new(4, 1);
        let mut compute = |question: &Question| {
            if question.key() != "k" {
                return Ok(None);
            }
            computed.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(5));
            network.evaluate(&question.widths().expect("widths")).map(|found| Some(Answer::Evaluation(found)))
        };
        let mut shift = Shift { told: &mut |_| (), leave: &mut |_| enough() };
        work_off(&board, &mut store, &mut compute, &mut shift).expect("works");
    }

    #[test]
    fn workers_answer_what_is_asked_each_question_once_and_without_them_the_asker_does() {
        for workers in [0, 1, 3] {
            let folder = tempfile::tempdir().expect("folder");
            let store = EvaluationStore::open(folder.path()).expect("opens");
            let mut board = Board::open(folder.path(), "asker", LEASE).expect("opens");
            board.announce("task", b"", b"").expect("announces");
            let computed = AtomicUsize::new(0);
            let done = AtomicUsize::new(0);
            thread::scope(|scope| {
                for index in 0..workers {
                    let (folder, computed, done) = (folder.path(), &computed, &done);
                    scope.spawn(move || {
                        worker(folder, &format!("worker{index}"), computed, &|| done.load(Ordering::Relaxed) > 0);
                    });
                }
                while workers > 0 && !board.has_workers().expect("looks") {
                    thread::sleep(LOOK);
                }
                let answers = RefCell::new(Answers::new(store, Some(board)));
                let mut stored = Stored::new(Additive::new(4, 1), &answers, "k".into(), &|| false);
                let all: Vec<Vec<BitWidth>> = (2..=8).map(|bits| widths(bits, 4)).collect();
                all.iter().for_each(|choice| stored.ask(choice).expect("asks"));
                for choice in &all {
                    let found = stored.evaluate(choice).expect("answers");
                    let truth = Additive::new(4, 1).evaluate(choice).expect("answers");
                    assert_eq!((found.accuracy.to_bits(), found.cached), (truth.accuracy.to_bits(), false));
                }
                let (paid, tally) = (answers.borrow().paid(), answers.borrow().tally());
                assert_eq!((paid, tally.contradicted), (7, 0));
                assert_eq!(tally.helped, if workers > 0 { 7 } else { 0 });
                done.store(1, Ordering::Relaxed);
            });
            assert_eq!(computed.into_inner(), if workers > 0 { 7 } else { 0 }, "{workers} workers");
            assert!(Board::jobs_of(folder.path(), "task").expect("lists").is_empty());
            assert_eq!(std::fs::read_dir(folder.path().join("claims")).expect("lists").count(), 0);
        }
    }
}
