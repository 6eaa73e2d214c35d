//! How a process gets an answer: from the store, from another process, or by computing it.

use super::board::Board;
use super::environment::{Environment, Evaluation, LayerFacts, SearchError};
use super::question::Question;
use super::store::{Answer, EvaluationStore, Kept};
use releqc_runtime::BitWidth;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::thread;
use std::time::Duration;

/// How often a process looks whether another one has answered.
const LOOK: Duration = Duration::from_millis(20);

/// What a process does that waits for the answer of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It waits on.
    Wait,
    /// It computes the answer itself, whoever else is at it.
    Compute,
    /// It does without.
    GiveUp,
}

impl Patience {
    /// Gives up once it is told so.
    pub fn until(ended: bool) -> Self {
        if ended { Patience::GiveUp } else { Patience::Wait }
    }
}

/// The store, and who else works on it.
#[derive(Debug)]
pub struct Answers {
    store: EvaluationStore,
    /// `None` where this process works alone.
    board: Option<Board>,
    /// Asked by this process and not yet answered, by name.
    open: BTreeMap<String, Question>,
    paid: usize,
    tally: Tally,
}

/// What happened besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers that another process computed for this one.
    pub helped: usize,
    /// Answers that two processes computed.
    pub repeated: usize,
    /// .. and that were not the same: one of the processes does not compute what it should.
    pub contradicted: usize,
}

impl Tally {
    /// Counts what became of an answer.
    pub fn count(&mut self, kept: Kept) {
        self.repeated += usize::from(kept == Kept::Same);
        self.contradicted += usize::from(kept == Kept::Other);
    }
}

/// An answer, and whether it had to be computed for this process, by whomever.
#[derive(Clone, Debug)]
pub struct Obtained {
    /// The answer.
    pub answer: Answer,
    /// False where it was known before.
    pub paid: bool,
}

impl Answers {
    /// Of a process that works alone.
    pub fn alone(store: EvaluationStore) -> Self {
        Self::new(store, None)
    }

    /// Of a process that works with those that see `board`.
    pub fn new(store: EvaluationStore, board: Option<Board>) -> Self {
        // From now on the silence of claims is counted.
        let _ = board.as_ref().map(|board| board.sweep(&store));
        Answers { store, board, open: BTreeMap::new(), paid: 0, tally: Tally::default() }
    }

    /// What is kept.
    pub fn store(&mut self) -> &mut EvaluationStore {
        &mut self.store
    }

    /// The board, where there is one.
    pub fn board(&mut self) -> Option<&mut Board> {
        self.board.as_mut()
    }

    /// Evaluations that were not known when they were asked for.
    pub fn paid(&self) -> usize {
        self.paid
    }

    /// What happened besides.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Says that a question will be asked, so that other processes begin with it.
    ///
    /// # Errors
    /// Of the store.
    pub fn ask(&mut self, question: &Question) -> Result<(), SearchError> {
        let Some(board) = &self.board else { return Ok(()) };
        if self.store.get(question)?.is_none() {
            board.post(question)?;
            self.open.insert(question.id(), question.clone());
        }
        Ok(())
    }

    /// The answer. Where nobody else takes the question, `compute` answers it; `patience` is asked while another process is at it.
    ///
    /// # Errors
    /// Of the store and of `compute`; [`SearchError::Interrupted`] where it gave up waiting for another process.
    pub fn obtain(
        &mut self,
        question: &Question,
        patience: &dyn Fn() -> Patience,
        compute: &mut dyn FnMut() -> Result<Answer, SearchError>,
    ) -> Result<Obtained, SearchError> {
        let id = question.id();
        let known = self.store.get(question)?;
        if let (Some(answer), false) = (&known, self.open.contains_key(&id)) {
            return Ok(Obtained { answer: answer.clone(), paid: false });
        }
        let answer = match known {
            Some(answer) => {
                self.tally.helped += 1;
                answer
            }
            None => self.work(question, patience, compute)?,
        };
        if self.open.remove(&id).is_some()
            && let Some(board) = &self.board
        {
            board.withdraw(question)?;
        }
        self.paid += usize::from(matches!(question, Question::Evaluation { .. }));
        Ok(Obtained { answer, paid: true })
    }

    /// Takes back what was asked and is not needed any more.
    ///
    /// # Errors
    /// [`SearchError::Store`] where the folder cannot be written.
    pub fn forget(&mut self) -> Result<(), SearchError> {
        let open = std::mem::take(&mut self.open);
        match &self.board {
            Some(board) => {
                open.values().try_for_each(|question| board.withdraw(question))?;
                board.sweep(&self.store)
            }
            None => Ok(()),
        }
    }

    /// Waits for another process, or computes where none is at it.
    fn work(
        &mut self,
        question: &Question,
        patience: &dyn Fn() -> Patience,
        compute: &mut dyn FnMut() -> Result<Answer, SearchError>,
    ) -> Result<Answer, SearchError> {
        self.ask(question)?;
        let Answers { store, board, tally, .. } = self;
        let Some(board) = &*board else { return computed(store, tally, question, compute) };
        loop {
            if let Some(answer) = store.get(question)? {
                tally.helped += 1;
                return Ok(answer);
            }
            if !board.has_workers()?
                && let Some(_claim) = board.claim(question)?
            {
                if let Some(answer) = store.get(question)? {
                    tally.helped += 1;
                    return Ok(answer);
                }
                return computed(store, tally, question, compute);
            }
            match patience() {
                Patience::Wait => {}
                Patience::Compute => return computed(store, tally, question, compute),
                Patience::GiveUp => return Err(SearchError::Interrupted),
            }
            board.sweep_when_due(store)?;
            // Another search of the same task may have taken the question away with its own.
            board.post(question)?;
            thread::sleep(LOOK);
        }
    }
}

/// An answer that is computed now and kept; the first one, where this one was not the first.
fn computed(
    store: &mut EvaluationStore,
    tally: &mut Tally,
    question: &Question,
    compute: &mut dyn FnMut() -> Result<Answer, SearchError>,
) -> Result<Answer, SearchError> {
    let answer = compute()?;
    let kept = store.put(question, &answer)?;
    tally.count(kept);
    if kept != Kept::Other {
        return Ok(answer);
    }
    Ok(store.get(question)?.unwrap_or(answer))
}

impl Drop for Answers {
    fn drop(&mut self) {
        // What was asked in vain is nobody's work any more.
        if let Some(board) = &self.board {
            self.open.values().for_each(|question| drop(board.withdraw(question)));
        }
    }
}

/// An environment that answers from a store what was evaluated before, by this process or another one.
pub struct Stored<'s, E> {
    inner: E,
    answers: &'s RefCell<Answers>,
    key: String,
    ended: &'s dyn Fn() -> bool,
}

impl<E: fmt::Debug> fmt::Debug for Stored<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").field("inner", &self.inner).field("key", &self.key).finish_non_exhaustive()
    }
}

impl<'s, E: Environment> Stored<'s, E> {
    /// `key` names everything besides the widths that the answers of `inner` depend on, see [`store_key`](super::question::store_key);
    /// once `ended` says so, nobody waits for other processes any more.
    pub fn new(inner: E, answers: &'s RefCell<Answers>, key: String, ended: &'s dyn Fn() -> bool) -> Self {
        Stored { inner, answers, key, ended }
    }
}

impl<E: Environment> Environment for Stored<'_, E> {
    fn layers(&self) -> &[LayerFacts] {
        self.inner.layers()
    }

    fn widths(&self) -> &[BitWidth] {
        self.inner.widths()
    }

    fn evaluate(&mut self, widths: &[BitWidth]) -> Result<Evaluation, SearchError> {
        let question = Question::evaluation(&self.key, widths);
        let Stored { inner, answers, ended, .. } = self;
        let patience = || Patience::until(ended());
        let mut compute = || inner.evaluate(widths).map(Answer::Evaluation);
        let obtained = answers.borrow_mut().obtain(&question, &patience, &mut compute)?;
        match obtained.answer {
            Answer::Evaluation(evaluation) => Ok(Evaluation { cached: !obtained.paid, ..evaluation }),
            Answer::Costs(_) | Answer::Parameters(_) => unreachable!("a store checks the kind of an answer"),
        }
    }

    fn ask(&mut self, widths: &[BitWidth]) -> Result<(), SearchError> {
        self.answers.borrow_mut().ask(&Question::evaluation(&self.key, widths))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::tests::Additive;

    const LEASE: Duration = Duration::from_millis(300);

    fn widths(bits: u8, depth: usize) -> Vec<BitWidth> {
        vec![BitWidth::new(bits).expect("2..=8"); depth]
    }

    #[test]
    fn a_second_run_pays_nothing_and_answers_the_same() {
        let folder = tempfile::tempdir().expect("folder");
        let run = |key: &str| {
            let answers = RefCell::new(Answers::alone(EvaluationStore::open(folder.path()).expect("opens")));
            let mut stored = Stored::new(Additive::new(4, 1), &answers, key.into(), &|| false);
            let found = [2, 3, 4, 3].map(|bits| stored.evaluate(&widths(bits, 4)).expect("answers"));
            let paid = answers.borrow().paid();
            (paid, found)
        };
        let (paid, first) = run("k");
        assert_eq!(paid, 3);
        let (paid, second) = run("k");
        assert_eq!(paid, 0);
        for (a, b) in first.iter().zip(&second) {
            assert_eq!(a.accuracy.to_bits(), b.accuracy.to_bits());
            assert!(b.cached);
        }
        assert_eq!(run("other").0, 3, "answers of other keys are not taken");
    }

    #[test]
    fn nobody_waits_for_a_lease_longer_than_they_have_time() {
        let folder = tempfile::tempdir().expect("folder");
        let store = EvaluationStore::open(folder.path()).expect("opens");
        let board = |owner: &str| {
            let mut board = Board::open(folder.path(), owner, Duration::from_secs(3600)).expect("opens");
            board.announce("task", b"", b"").expect("announces");
            board
        };
        let dead = board("dead");
        let (first, second) = (Question::evaluation("k", &widths(2, 4)), Question::evaluation("k", &widths(3, 4)));
        let claims = [&first, &second].map(|question| dead.claim(question).expect("claims").expect("is free"));
        let present = dead.attend().expect("signs");
        let mut answers = Answers::new(store, Some(board("asker")));
        let asked = std::cell::Cell::new(0);
        let at_the_third_look = |then: Patience| {
            asked.set(asked.get() + 1);
            if asked.get() < 3 { Patience::Wait } else { then }
        };
        let mut answer = || Additive::new(4, 1).evaluate(&widths(3, 4)).map(Answer::Evaluation);
        let mut never = || -> Result<Answer, SearchError> { unreachable!("somebody is at it") };
        let found = answers.obtain(&first, &|| at_the_third_look(Patience::GiveUp), &mut never);
        assert!(matches!(found, Err(SearchError::Interrupted)) && asked.get() == 3, "{found:?}");
        asked.set(0);
        let found = answers.obtain(&second, &|| at_the_third_look(Patience::Compute), &mut answer);
        assert!(found.expect("computes").paid && asked.get() == 3);
        drop((claims, present));
    }

    #[test]
    fn what_was_asked_in_vain_is_taken_back() {
        let folder = tempfile::tempdir().expect("folder");
        let store = EvaluationStore::open(folder.path()).expect("opens");
        let mut board = Board::open(folder.path(), "asker", LEASE).expect("opens");
        board.announce("task", b"", b"").expect("announces");
        let mut answers = Answers::new(store, Some(board));
        answers.ask(&Question::evaluation("k", &widths(2, 4))).expect("asks");
        assert_eq!(Board::jobs_of(folder.path(), "task").expect("lists").len(), 1);
        drop(answers);
        assert!(Board::jobs_of(folder.path(), "task").expect("lists").is_empty());
    }
}
