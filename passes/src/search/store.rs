//! Answers kept on disk, so that a second run, a resumed run, a finer search or another process pays only for what is new.
//!
//! A folder with one file an answer, `answers/ID`, where `ID` is the hash of the question ([`Question::id`]). So a file is a function
//! of its name, and it does not matter who writes it, how often, or who else does at the same moment:
//!
//! ```text
//! {"question":{"kind":"evaluation","key":"<hex>","widths":[2,2,3,2]},"answer":{"kind":"evaluation","accuracy":0.9391,..}}\n
//! trained parameters, f32, little endian: only after the answers that have them
//! ```
//!
//! A file is written under another name, synced, and renamed; the first writer wins. No process is ever told to wait, and one that is
//! killed leaves at most an unfinished file, which nobody reads. A measured cost table is the one answer that depends on when it was
//! measured: there too the first one stands.
//!
//! What a reader finds under a name that is not the answer to that question is damage of the disk or of a person: an error that names the
//! file. Files under other names are never looked at. A folder that is neither empty nor a store is refused.

use super::environment::{Evaluation, SearchError};
use super::files;
use super::question::Question;
use releqc_runtime::BitWidth;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file that says that a folder is a store, and of which form.
const MARK: &str = "releqc-store";
const FORM: &[u8] = b"1\n";

const ANSWERS: &str = "answers";

/// What is known.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To a question for accuracy.
    Evaluation(Evaluation),
    /// `[layer][bits - 2]`
    Costs(Vec<Vec<f64>>),
    /// Trained vectors, in the order of the trainer.
    Parameters(Vec<Vec<f32>>),
}

/// What happened to an answer that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is the first.
    New,
    /// Another process has answered the same before: the work was done twice.
    Same,
    /// Another process has answered otherwise, which a function of the question cannot; the first answer stands.
    Other,
}

#[derive(Serialize, Deserialize)]
struct Header {
    question: Question,
    answer: Form,
}

/// An [`Answer`] as its file states it.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Form {
    Evaluation {
        accuracy: f64,
        samples: usize,
        standard_error: Option<f64>,
    },
    Costs {
        costs: Vec<Vec<f64>>,
    },
    Parameters {
        lengths: Vec<usize>,
        /// Of the bytes after the line.
        blake3: String,
    },
}

/// The answers in a folder, or in memory.
#[derive(Debug)]
pub struct EvaluationStore {
    /// `None` keeps the answers in memory only.
    folder: Option<PathBuf>,
    /// Answers that were kept or found, by the question's name; parameters are too large for it.
    known: BTreeMap<String, Answer>,
}

impl EvaluationStore {
    /// Opens a folder and removes the answers in it unread; the folder is made where there is none.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn create(folder: &Path) -> Result<Self, SearchError> {
        let store = Self::open(folder)?;
        let answers = folder.join(ANSWERS);
        let clear = || -> io::Result<()> {
            for name in files::names(&answers)?.iter().filter(|name| is_id(name)) {
                files::remove(&answers.join(name))?;
            }
            Ok(())
        };
        clear().map_err(|source| failed(&answers, source))?;
        Ok(store)
    }

    /// Opens a folder; it is made where there is none.
    ///
    /// # Errors
    /// [`SearchError::Store`] when the folder cannot be read or written, [`SearchError::NoStore`] when it holds something else, or answers in a
    /// form that this version does not know.
    pub fn open(folder: &Path) -> Result<Self, SearchError> {
        prepare(folder)?;
        Ok(EvaluationStore { folder: Some(folder.to_path_buf()), ..Self::in_memory() })
    }

    /// Whether a folder is a store or can become one; nothing is made.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn check(folder: &Path) -> Result<(), SearchError> {
        let refuse = |found: String| Err(SearchError::NoStore { path: folder.display().to_string(), found });
        if fs::metadata(folder).is_ok_and(|found| !found.is_dir()) {
            return refuse("a file is there".into());
        }
        let at = |source| failed(folder, source);
        match files::read(&folder.join(MARK)).map_err(at)? {
            Some(form) if form == FORM => Ok(()),
            Some(_) => refuse(format!("its {MARK} states a form that this version does not know")),
            None => match files::names(folder).map_err(at)?.into_iter().find(|name| name != MARK) {
                Some(name) => refuse(format!("it holds {name:?}")),
                None => Ok(()),
            },
        }
    }

    /// A store that lasts as long as the process.
    pub fn in_memory() -> Self {
        EvaluationStore { folder: None, known: BTreeMap::new() }
    }

    /// Where the answers are kept.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The answer to a question, if anybody has kept one by now.
    ///
    /// # Errors
    /// [`SearchError::Store`] when the file cannot be read, [`SearchError::DamagedStore`] when it is no answer to this question.
    pub fn get(&mut self, question: &Question) -> Result<Option<Answer>, SearchError> {
        let id = question.id();
        if let Some(known) = self.known.get(&id) {
            return Ok(Some(known.clone()));
        }
        let Some(folder) = &self.folder else { return Ok(None) };
        let path = folder.join(ANSWERS).join(&id);
        let Some(bytes) = files::read(&path).map_err(|source| failed(&path, source))? else { return Ok(None) };
        let answer = decode(question, &bytes)
            .map_err(|reason| SearchError::DamagedStore { path: path.display().to_string(), reason })?;
        self.remember(id, &answer);
        Ok(Some(answer))
    }

    /// Whether an answer of this name is kept.
    pub fn has(&self, id: &str) -> bool {
        self.known.contains_key(id) || self.folder.as_ref().is_some_and(|folder| folder.join(ANSWERS).join(id).exists())
    }

    /// The accuracy kept for `widths` under `key`, marked as cached.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn evaluation(&mut self, key: &str, widths: &[BitWidth]) -> Result<Option<Evaluation>, SearchError> {
        Ok(match self.get(&Question::evaluation(key, widths))? {
            Some(Answer::Evaluation(evaluation)) => Some(evaluation),
            _ => None,
        })
    }

    /// Keeps an answer; on return it is on disk. Where there is one already, that one stands.
    ///
    /// # Errors
    /// [`SearchError::Store`] when the file cannot be written; as [`get`](Self::get) where there is one.
    pub fn put(&mut self, question: &Question, answer: &Answer) -> Result<Kept, SearchError> {
        let id = question.id();
        if let Some(folder) = &self.folder {
            let path = folder.join(ANSWERS).join(&id);
            let at = |source| failed(&path, source);
            let bytes = encode(question, answer).map_err(at)?;
            if !files::write_once(&path, &bytes).map_err(at)? {
                let same = files::read(&path).map_err(at)?.is_some_and(|found| found == bytes);
                self.get(question)?;
                return Ok(if same { Kept::Same } else { Kept::Other });
            }
        }
        self.remember(id, answer);
        Ok(Kept::New)
    }

    fn remember(&mut self, id: String, answer: &Answer) {
        let answer = match answer {
            Answer::Evaluation(evaluation) => Answer::Evaluation(Evaluation { cached: true, ..*evaluation }),
            Answer::Parameters(_) => return,
            other => other.clone(),
        };
        self.known.insert(id, answer);
    }

    /// Number of answers to all questions.
    ///
    /// # Errors
    /// [`SearchError::Store`] when the folder cannot be read.
    pub fn count(&self) -> Result<usize, SearchError> {
        let Some(folder) = &self.folder else { return Ok(self.known.len()) };
        let answers = folder.join(ANSWERS);
        let names = files::names(&answers).map_err(|source| failed(&answers, source))?;
        Ok(names.iter().filter(|name| is_id(name)).count())
    }
}

/// Whether a name is one of [`Question::id`].
fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn failed(path: &Path, source: io::Error) -> SearchError {
    SearchError::Store { path: path.display().to_string(), source }
}

/// Makes a folder a store, or checks that it is one.
fn prepare(folder: &Path) -> Result<(), SearchError> {
    let at = |source| failed(folder, source);
    EvaluationStore::check(folder)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(at(error)),
        _ => {}
    }
    // The mark first: what has one is no stranger's, however far this process comes.
    files::write_once(&folder.join(MARK), FORM).map_err(at)?;
    let answers = folder.join(ANSWERS);
    fs::create_dir_all(&answers).map_err(at)?;
    files::sweep(&answers).map_err(at)
}

fn encode(question: &Question, answer: &Answer) -> io::Result<Vec<u8>> {
    let (answer, payload) = match answer {
        Answer::Evaluation(Evaluation { accuracy, samples, standard_error, .. }) => {
            (Form::Evaluation { accuracy: *accuracy, samples: *samples, standard_error: *standard_error }, Vec::new())
        }
        Answer::Costs(costs) => (Form::Costs { costs: costs.clone() }, Vec::new()),
        Answer::Parameters(vectors) => {
            let payload: Vec<u8> = vectors.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
            let lengths = vectors.iter().map(Vec::len).collect();
            (Form::Parameters { lengths, blake3: blake3::hash(&payload).to_hex().to_string() }, payload)
        }
    };
    let mut bytes = serde_json::to_vec(&Header { question: question.clone(), answer })?;
    bytes.push(b'\n');
    bytes.extend(payload);
    Ok(bytes)
}

fn decode(question: &Question, bytes: &[u8]) -> Result<Answer, String> {
    let end = bytes.iter().position(|&byte| byte == b'\n').ok_or("it has no line")?;
    let (line, payload) = (&bytes[..end], &bytes[end + 1..]);
    let header: Header = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    if header.question != *question {
        return Err("it answers another question".into());
    }
    let answer = match header.answer {
        Form::Evaluation { accuracy, samples, standard_error } if payload.is_empty() => {
            Answer::Evaluation(Evaluation { accuracy, samples, standard_error, cached: true })
        }
        Form::Costs { costs } if payload.is_empty() => Answer::Costs(costs),
        Form::Parameters { lengths, blake3 } => {
            if blake3::hash(payload).to_hex().to_string() != blake3 {
                return Err("the parameters are not those that were written".into());
            }
            let mut values = payload.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            let vector = |&length: &usize| values.by_ref().take(length).collect::<Vec<f32>>();
            let vectors: Vec<Vec<f32>> = lengths.iter().map(vector).collect();
            if vectors.iter().map(Vec::len).ne(lengths) || values.next().is_some() {
                return Err("the parameters are fewer or more than it states".into());
            }
            Answer::Parameters(vectors)
        }
        _ => return Err("something follows its line".into()),
    };
    let kinds = matches!(
        (question, &answer),
        (Question::Evaluation { .. }, Answer::Evaluation(_))
            | (Question::Costs { .. }, Answer::Costs(_))
            | (Question::Run { .. } | Question::Unlearning { .. }, Answer::Parameters(_))
    );
    if kinds { Ok(answer) } else { Err("it is an answer of another kind".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widths(bits: u8, depth: usize) -> Vec<BitWidth> {
        vec![BitWidth::new(bits).expect("2..=8"); depth]
    }

    fn answer(accuracy: f64) -> Answer {
        Answer::Evaluation(Evaluation { accuracy, samples: 10, standard_error: Some(0.1 + 0.2), cached: false })
    }

    fn file(folder: &Path, question: &Question) -> PathBuf {
        folder.join(ANSWERS).join(question.id())
    }

    #[test]
    fn every_kind_of_answer_is_read_back_as_it_was() {
        let folder = tempfile::tempdir().expect("folder");
        let place = folder.path().join("store");
        let costs = vec![vec![1.0, 0.1 + 0.2, 1.0 / 3.0], vec![1e-300, 7.25, 1e9 / 7.0]];
        let parameters = vec![vec![1.5, -0.0, f32::MIN_POSITIVE], vec![], vec![0.1]];
        let all = [
            (Question::evaluation("k", &widths(3, 4)), answer(1.0 / 3.0)),
            (Question::Costs { key: "k".into() }, Answer::Costs(costs)),
            (Question::run("k", &widths(3, 4)), Answer::Parameters(parameters.clone())),
            (Question::Unlearning { key: "k".into() }, Answer::Parameters(parameters)),
        ];
        let mut store = EvaluationStore::open(&place).expect("opens");
        for (question, answer) in &all {
            assert_eq!(store.get(question).expect("reads"), None);
            assert_eq!(store.put(question, answer).expect("writes"), Kept::New);
        }
        assert_eq!(store.count().expect("lists"), 4);
        let mut store = EvaluationStore::open(&place).expect("opens");
        for (question, answer) in &all {
            let mut found = store.get(question).expect("reads").expect("is there");
            if let Answer::Evaluation(evaluation) = &mut found {
                assert!(evaluation.cached);
                evaluation.cached = false;
            }
            assert_eq!(found, *answer);
        }
        assert_eq!(store.evaluation("other", &widths(3, 4)).expect("reads"), None, "of another key");
    }

    #[test]
    fn two_processes_see_each_others_answers_and_the_first_one_stands() {
        let folder = tempfile::tempdir().expect("folder");
        let open = || EvaluationStore::open(folder.path()).expect("opens");
        let (mut one, mut two) = (open(), open());
        let question = Question::evaluation("k", &widths(2, 2));
        assert_eq!(two.get(&question).expect("reads"), None);
        assert_eq!(one.put(&question, &answer(0.5)).expect("writes"), Kept::New);
        assert_eq!(two.put(&question, &answer(0.5)).expect("writes"), Kept::Same);
        assert_eq!(two.put(&question, &answer(0.75)).expect("writes"), Kept::Other);
        for store in [&mut one, &mut two, &mut open()] {
            let found = store.evaluation("k", &widths(2, 2)).expect("reads").expect("is there");
            assert_eq!(found.accuracy, 0.5);
        }
    }

    #[test]
    fn a_file_that_is_not_the_answer_is_named() {
        let folder = tempfile::tempdir().expect("folder");
        let question = Question::run("k", &widths(2, 2));
        let other = Question::run("k", &widths(3, 2));
        let parameters = Answer::Parameters(vec![vec![1.0; 5]]);
        let mut store = EvaluationStore::open(folder.path()).expect("opens");
        store.put(&question, &parameters).expect("writes");
        store.put(&other, &parameters).expect("writes");
        let path = file(folder.path(), &question);
        let whole = fs::read(&path).expect("reads");
        let mut damaged: Vec<Vec<u8>> = (0..whole.len()).map(|end| whole[..end].to_vec()).collect();
        damaged.push(fs::read(file(folder.path(), &other)).expect("reads"));
        damaged.push([&whole[..], b"\0\0\0\0"].concat());
        for bytes in damaged {
            fs::write(&path, &bytes).expect("writes");
            let mut store = EvaluationStore::open(folder.path()).expect("opens");
            let error = store.get(&question).expect_err("damaged").to_string();
            assert!(error.contains(&question.id()), "{error}");
            assert!(store.get(&other).is_ok(), "the others are as they were");
        }
    }

    #[test]
    fn a_new_store_reads_nothing_of_the_old_one_and_nothing_foreign_is_touched() {
        let folder = tempfile::tempdir().expect("folder");
        let place = folder.path().join("store");
        let question = Question::evaluation("k", &widths(2, 2));
        let mut store = EvaluationStore::create(&place).expect("begins");
        store.put(&question, &answer(0.5)).expect("writes");
        fs::write(file(&place, &question), "nonsense").expect("writes");
        fs::write(place.join(ANSWERS).join("notes.txt"), "a person's").expect("writes");
        let mut store = EvaluationStore::create(&place).expect("begins anew");
        assert_eq!(store.get(&question).expect("reads"), None);
        assert!(place.join(ANSWERS).join("notes.txt").exists());
        let foreign = folder.path().join("pictures");
        fs::create_dir(&foreign).expect("makes");
        fs::write(foreign.join("cat.png"), "").expect("writes");
        for refused in [EvaluationStore::create(&foreign), EvaluationStore::open(&foreign)] {
            let error = refused.expect_err("no store").to_string();
            assert!(error.contains("cat.png"), "{error}");
        }
        assert_eq!(fs::read_dir(&foreign).expect("lists").count(), 1);
        let newer = folder.path().join("newer");
        fs::create_dir(&newer).expect("makes");
        fs::write(newer.join(MARK), "2\n").expect("writes");
        assert!(EvaluationStore::open(&newer).is_err(), "of a later form");
        fs::write(folder.path().join("file"), "").expect("writes");
        assert!(EvaluationStore::open(&folder.path().join("file")).is_err(), "a file is no folder");
    }

    #[test]
    fn an_answer_killed_half_way_is_no_answer() {
        let folder = tempfile::tempdir().expect("folder");
        let question = Question::evaluation("k", &widths(2, 2));
        let mut store = EvaluationStore::open(folder.path()).expect("opens");
        let unfinished = folder.path().join(ANSWERS).join(".tmp-4711");
        fs::write(&unfinished, &encode(&question, &answer(0.5)).expect("encodes")[..20]).expect("writes");
        assert_eq!((store.get(&question).expect("reads"), store.count().expect("lists")), (None, 0));
        store.put(&question, &answer(0.5)).expect("writes");
        assert_eq!(store.count().expect("lists"), 1);
    }
}
