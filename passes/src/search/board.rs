//! Where processes that share a store tell each other what is to be answered, and who is at it.
//!
//! ```text
//! STORE/tasks/TASK/task.json, model.onnx   what the questions are about
//! STORE/tasks/TASK/jobs/ID                 a question that is open
//! STORE/tasks/TASK/workers/OWNER           a process that takes jobs of this task
//! STORE/claims/ID                          somebody is at this question
//! ```
//!
//! None of these files decides what an answer is, so none needs a lock: a claim only saves work. It is made with an exclusive open, and its
//! time moves while its owner lives; one that has been silent for its lease is taken away by whoever wants the job. Where two do that at
//! once the question is answered twice, with the same answer.

use super::environment::SearchError;
use super::files;
use super::heart::{Heart, Watch};
use super::question::Question;
use super::store::EvaluationStore;
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const TASKS: &str = "tasks";
const CLAIMS: &str = "claims";
const JOBS: &str = "jobs";
const WORKERS: &str = "workers";
const DESCRIPTION: &str = "task.json";
const MODEL: &str = "model.onnx";

/// A question that is open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Job {
    /// Lower ones are needed sooner.
    pub order: u64,
    /// What is asked.
    pub question: Question,
}

/// What a search has made known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// What a worker needs to know besides the model.
    pub description: Vec<u8>,
    /// The model, in ONNX.
    pub model: Vec<u8>,
}

/// What a claim and a worker's file say.
#[derive(Serialize, Deserialize)]
struct Owner {
    owner: String,
    /// Milliseconds of silence after which the owner counts as dead.
    lease: u64,
}

/// One process's view of the folder that it shares with others.
#[derive(Debug)]
pub struct Board {
    store: PathBuf,
    /// Known from the moment at which it is clear what is asked about.
    task: Option<PathBuf>,
    /// Unique among the processes of all machines.
    owner: String,
    lease: Duration,
    heart: Heart,
    watch: RefCell<Watch>,
    posted: Cell<u64>,
    swept: Cell<Option<Instant>>,
}

impl Board {
    /// In the folder of a store. `owner` is a name for this process that no other has on any machine; `lease` is the silence after which
    /// others take its work over.
    ///
    /// # Errors
    /// [`SearchError::Store`] when the folder cannot be written.
    pub fn open(store: &Path, owner: &str, lease: Duration) -> Result<Self, SearchError> {
        let claims = store.join(CLAIMS);
        fs::create_dir_all(&claims).map_err(|source| failed(&claims, source))?;
        let heart = Heart::new(lease).map_err(|source| failed(store, source))?;
        let name = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        Ok(Board {
            store: store.to_path_buf(),
            task: None,
            owner: owner.chars().map(name).collect(),
            lease,
            heart,
            watch: RefCell::default(),
            posted: Cell::new(0),
            swept: Cell::new(None),
        })
    }

    /// Names of the tasks of a store, sorted.
    ///
    /// # Errors
    /// [`SearchError::Store`] when the folder cannot be read.
    pub fn tasks(store: &Path) -> Result<Vec<String>, SearchError> {
        let tasks = store.join(TASKS);
        files::names(&tasks).map_err(|source| failed(&tasks, source))
    }

    /// What was announced of a task; `None` where it is not whole.
    ///
    /// # Errors
    /// [`SearchError::Store`] when the files cannot be read.
    pub fn task(store: &Path, name: &str) -> Result<Option<Announced>, SearchError> {
        let folder = store.join(TASKS).join(name);
        let read = |file: &str| files::read(&folder.join(file)).map_err(|source| failed(&folder.join(file), source));
        let whole = read(DESCRIPTION)?.zip(read(MODEL)?);
        Ok(whole.map(|(description, model)| Announced { description, model }))
    }

    /// Makes a task the one of this process, and known to all others.
    ///
    /// # Errors
    /// [`SearchError::Store`] when the folder cannot be written.
    pub fn announce(&mut self, name: &str, description: &[u8], model: &[u8]) -> Result<(), SearchError> {
        let folder = self.enter(name)?;
        // The description last: what has one is whole.
        for (file, bytes) in [(MODEL, model), (DESCRIPTION, description)] {
            files::write_once(&folder.join(file), bytes).map_err(|source| failed(&folder.join(file), source))?;
        }
        Ok(())
    }

    /// Makes a task that another process has announced the one of this process.
    ///
    /// # Errors
    /// [`SearchError::Store`] when the folder cannot be written.
    pub fn enter(&mut self, name: &str) -> Result<PathBuf, SearchError> {
        let folder = self.store.join(TASKS).join(name);
        for part in [JOBS, WORKERS] {
            fs::create_dir_all(folder.join(part)).map_err(|source| failed(&folder, source))?;
        }
        self.task = Some(folder.clone());
        Ok(folder)
    }

    /// Asks whoever is there.
    ///
    /// # Errors
    /// [`SearchError::Store`] when the folder cannot be written.
    pub fn post(&self, question: &Question) -> Result<(), SearchError> {
        let Some(task) = &self.task else { return Ok(()) };
        let path = task.join(JOBS).join(question.id());
        if path.exists() {
            return Ok(());
        }
        let order = self.posted.get();
        let job = serde_json::to_vec(&Job { order, question: question.clone() })
            .map_err(|error| failed(&path, error.into()))?;
        if files::write_once(&path, &job).map_err(|source| failed(&path, source))? {
            self.posted.set(order + 1);
        }
        Ok(())
    }

    /// Takes a question back, or away once it is answered.
    ///
    /// # Errors
    /// [`SearchError::Store`] when the folder cannot be written.
    pub fn withdraw(&self, question: &Question) -> Result<(), SearchError> {
        let Some(task) = &self.task else { return Ok(()) };
        let path = task.join(JOBS).join(question.id());
        files::remove(&path).map_err(|source| failed(&path, source))
    }

    /// The open questions of a task, the one needed soonest first. What is none is not for this program and is left alone.
    ///
    /// # Errors
    /// [`SearchError::Store`] when the folder cannot be read.
    pub fn jobs_of(store: &Path, name: &str) -> Result<Vec<Job>, SearchError> {
        let folder = store.join(TASKS).join(name).join(JOBS);
        let mut jobs = Vec::new();
        for name in files::names(&folder).map_err(|source| failed(&folder, source))? {
            let path = folder.join(&name);
            // One that is gone by now is answered.
            let bytes = files::read(&path).map_err(|source| failed(&path, source))?.unwrap_or_default();
            jobs.extend(serde_json::from_slice::<Job>(&bytes).ok().filter(|job| job.question.id() == name));
        }
        jobs.sort();
        Ok(jobs)
    }

    /// The open questions of this process's task.
    ///
    /// # Errors
    /// As [`jobs_of`](Self::jobs_of).
    pub fn jobs(&self) -> Result<Vec<Job>, SearchError> {
        match self.task.as_ref().and_then(|task| task.file_name()) {
            Some(name) => Self::jobs_of(&self.store, &name.to_string_lossy()),
            None => Ok(Vec::new()),
        }
    }

    /// Takes a question for this process; `None` where somebody alive is at it.
    ///
    /// # Errors
    /// [`SearchError::Store`] when the folder cannot be read or written.
    pub fn claim(&self, question: &Question) -> Result<Option<Claim<'_>>, SearchError> {
        let path = self.store.join(CLAIMS).join(question.id());
        let at = |source| failed(&path, source);
        let mut taken = self.sign(&path).map_err(at)?;
        if !taken && self.is_dead(&path).map_err(at)? {
            files::remove(&path).map_err(at)?;
            taken = self.sign(&path).map_err(at)?;
        }
        Ok(taken.then(|| Claim::of(self, path)))
    }

    /// Removes the claims that nobody needs: those of answered questions, and those whose owner this process has seen silent for its lease.
    ///
    /// # Errors
    /// [`SearchError::Store`] when the folder cannot be read or written.
    pub fn sweep(&self, store: &EvaluationStore) -> Result<(), SearchError> {
        self.swept.set(Some(Instant::now()));
        let folder = self.store.join(CLAIMS);
        for name in files::names(&folder).map_err(|source| failed(&folder, source))? {
            let path = folder.join(&name);
            let at = |source| failed(&path, source);
            if store.has(&name) || self.is_dead(&path).map_err(at)? {
                files::remove(&path).map_err(at)?;
            }
        }
        Ok(())
    }

    /// The same, where half a lease has passed since.
    ///
    /// # Errors
    /// As [`sweep`](Self::sweep).
    pub fn sweep_when_due(&self, store: &EvaluationStore) -> Result<(), SearchError> {
        if self.swept.get().is_some_and(|last| last.elapsed() < self.lease / 2) { Ok(()) } else { self.sweep(store) }
    }

    /// Says that this process takes jobs of its task, until the sign is dropped. `None` before there is a task.
    ///
    /// # Errors
    /// [`SearchError::Store`] when the folder cannot be written.
    pub fn attend(&self) -> Result<Option<Claim<'_>>, SearchError> {
        let Some(task) = &self.task else { return Ok(None) };
        let path = task.join(WORKERS).join(&self.owner);
        self.sign(&path).map_err(|source| failed(&path, source))?;
        Ok(Some(Claim::of(self, path)))
    }

    /// Says again that this process takes jobs, where somebody took its sign away: it stood still for a lease.
    ///
    /// # Errors
    /// As [`attend`](Self::attend).
    pub fn renew(&self) -> Result<(), SearchError> {
        let Some(task) = &self.task else { return Ok(()) };
        let path = task.join(WORKERS).join(&self.owner);
        self.sign(&path).map(drop).map_err(|source| failed(&path, source))
    }

    /// Whether anybody alive takes jobs of this task.
    ///
    /// # Errors
    /// [`SearchError::Store`] when the folder cannot be read.
    pub fn has_workers(&self) -> Result<bool, SearchError> {
        let Some(task) = &self.task else { return Ok(false) };
        let folder = task.join(WORKERS);
        let at = |source| failed(&folder, source);
        for name in files::names(&folder).map_err(at)? {
            let path = folder.join(name);
            if !path.exists() {
                continue;
            }
            if !self.is_dead(&path).map_err(at)? {
                return Ok(true);
            }
            files::remove(&path).map_err(at)?;
        }
        Ok(false)
    }

    /// Makes a file with this process's name; false where there is one.
    fn sign(&self, path: &Path) -> io::Result<bool> {
        let mut file = match OpenOptions::new().write(true).create_new(true).open(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            file => file?,
        };
        file.write_all(&self.signature()?)?;
        Ok(true)
    }

    fn signature(&self) -> io::Result<Vec<u8>> {
        let lease = u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX);
        Ok(serde_json::to_vec(&Owner { owner: self.owner.clone(), lease })?)
    }

    /// Whether the owner of a file has been silent for the lease that it states; false where there is no file.
    fn is_dead(&self, path: &Path) -> io::Result<bool> {
        let Some(silence) = self.watch.borrow_mut().silence(path)? else { return Ok(false) };
        let signed = files::read(path)?.and_then(|bytes| serde_json::from_slice::<Owner>(&bytes).ok());
        // One without a signature was made by a process killed at just that moment.
        Ok(silence >= signed.map_or(self.lease, |signed| Duration::from_millis(signed.lease)))
    }
}

/// A file that says that this process is at something; it goes when the claim is dropped.
#[derive(Debug)]
pub struct Claim<'b> {
    board: &'b Board,
    path: PathBuf,
}

impl<'b> Claim<'b> {
    fn of(board: &'b Board, path: PathBuf) -> Self {
        board.heart.beat_for(&path);
        Claim { board, path }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.board.heart.forget(&self.path);
        // Somebody who took this process for dead may have put an own file there. What cannot be removed is silent from now on.
        let own = self.board.signature().ok();
        if own.is_some() && files::read(&self.path).ok().flatten() == own {
            let _ = files::remove(&self.path);
        }
    }
}

fn failed(path: &Path, source: io::Error) -> SearchError {
    SearchError::Store { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use releqc_runtime::BitWidth;

    const LONG: Duration = Duration::from_secs(3600);

    fn question(bits: u8) -> Question {
        Question::evaluation("k", &[BitWidth::new(bits).expect("2..=8")])
    }

    #[test]
    fn a_job_is_claimed_by_one_at_a_time() {
        let folder = tempfile::tempdir().expect("folder");
        let board = |owner: &str| {
            let mut board = Board::open(folder.path(), owner, LONG).expect("opens");
            board.announce("task", b"description", b"model").expect("announces");
            board
        };
        let (one, two) = (board("one"), board("two"));
        for bits in [3, 2] {
            one.post(&question(bits)).expect("posts");
            one.post(&question(bits)).expect("posts once");
        }
        fs::write(folder.path().join("tasks/task/jobs/foreign"), "nonsense").expect("writes");
        let jobs: Vec<Question> = two.jobs().expect("lists").into_iter().map(|job| job.question).collect();
        assert_eq!(jobs, [question(3), question(2)], "in the order in which they are needed");
        let claim = two.claim(&jobs[0]).expect("claims").expect("is free");
        assert!(one.claim(&jobs[0]).expect("claims").is_none(), "somebody is at it");
        assert!(one.claim(&jobs[1]).expect("claims").is_some(), "nobody is at the other");
        drop(claim);
        assert!(one.claim(&jobs[0]).expect("claims").is_some(), "free again");
        two.withdraw(&jobs[0]).expect("withdraws");
        two.withdraw(&jobs[0]).expect("is gone");
        assert_eq!(one.jobs().expect("lists").len(), 1);
        let announced = Board::task(folder.path(), "task").expect("reads").expect("is whole");
        assert_eq!(announced, Announced { description: b"description".into(), model: b"model".into() });
    }

    #[test]
    fn claims_of_the_dead_and_of_answered_questions_are_swept_and_those_of_the_living_stay() {
        let folder = tempfile::tempdir().expect("folder");
        let lease = Duration::from_millis(100);
        let mut store = EvaluationStore::open(folder.path()).expect("opens");
        let board = Board::open(folder.path(), "sweeper", lease).expect("opens");
        let living = Board::open(folder.path(), "living", LONG).expect("opens");
        let _claim = living.claim(&question(2)).expect("claims").expect("is free");
        let path = |bits: u8| folder.path().join(CLAIMS).join(question(bits).id());
        let dead = serde_json::to_vec(&Owner { owner: "dead".into(), lease: 100 }).expect("text");
        for bits in [3, 4] {
            fs::write(path(bits), &dead).expect("writes");
        }
        store.put(&question(4), &crate::search::Answer::Costs(Vec::new())).expect("keeps");
        board.sweep_when_due(&store).expect("sweeps");
        assert!(path(2).exists() && path(3).exists(), "whoever is at these may live");
        assert!(!path(4).exists(), "nobody waits for an answer that is there");
        std::thread::sleep(2 * lease);
        board.sweep_when_due(&store).expect("sweeps");
        assert!(path(2).exists() && !path(3).exists());
    }

    #[test]
    fn the_claim_of_the_dead_is_taken_over_and_nobody_waits_for_them() {
        let folder = tempfile::tempdir().expect("folder");
        let lease = Duration::from_millis(100);
        let mut board = Board::open(folder.path(), "living", LONG).expect("opens");
        board.announce("task", b"", b"").expect("announces");
        assert!(!board.has_workers().expect("looks"));
        {
            let mut other = Board::open(folder.path(), "other", LONG).expect("opens");
            other.enter("task").expect("enters");
            let present = other.attend().expect("signs");
            assert!(present.is_some() && board.has_workers().expect("looks"));
        }
        assert!(!board.has_workers().expect("looks"), "it has left");
        let dead = serde_json::to_vec(&Owner { owner: "dead".into(), lease: 100 }).expect("text");
        let claim = folder.path().join(CLAIMS).join(question(2).id());
        let worker = folder.path().join("tasks/task/workers/dead");
        for path in [&claim, &worker] {
            fs::write(path, &dead).expect("writes");
        }
        assert!(board.claim(&question(2)).expect("looks").is_none(), "it may live");
        assert!(board.has_workers().expect("looks"));
        std::thread::sleep(2 * lease);
        assert!(!board.has_workers().expect("looks"));
        let taken = board.claim(&question(2)).expect("looks").expect("is taken over");
        assert!(fs::read_to_string(&claim).expect("reads").contains("living"));
        fs::write(&claim, &dead).expect("somebody took this process for dead");
        drop(taken);
        assert_eq!(fs::read(&claim).expect("stays"), dead);
    }
}
