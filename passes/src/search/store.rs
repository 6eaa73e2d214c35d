//! Evaluations kept on disk, so that a second run, a resumed run or a finer search pays only for what is new.
//!
//! The file is text, one JSON object a line, only ever appended to: an evaluation,
//! `{"key":"<hex>","widths":[2,2,3,2],"accuracy":0.9391,"samples":5000,"standard_error":null}`,
//! or a cost table that was measured, `{"key":"<hex>","costs":[[1830.0,..],..]}`, as another measurement would lead elsewhere.
//! Every line is written with one call and synced before the evaluation is used, so after a crash at most the last line is
//! torn; it is cut off when the file is opened again. Lines of other keys (another network, data set, recipe or seed) are kept
//! and ignored. The file is locked as long as the store lives: a second search for the same output is refused.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use releqc_runtime::BitWidth;
use serde::{Deserialize, Serialize};

use super::environment::{Environment, Evaluation, LayerFacts, SearchError};

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "neither an evaluation nor a cost table")]
enum Line {
    Evaluation { key: String, widths: Vec<u8>, accuracy: f64, samples: usize, standard_error: Option<f64> },
    Costs { key: String, costs: Vec<Vec<f64>> },
}

/// An append-only file of evaluations, read once.
#[derive(Debug)]
pub struct EvaluationStore {
    path: PathBuf,
    /// `None` keeps the answers in memory only.
    file: Option<File>,
    known: BTreeMap<(String, Vec<u8>), Evaluation>,
    costs: BTreeMap<String, Vec<Vec<f64>>>,
}

impl EvaluationStore {
    /// Begins a new file; one that is there is emptied unread.
    ///
    /// # Errors
    /// [`SearchError::Store`] when the file cannot be written, [`SearchError::StoreInUse`] when another search holds it.
    pub fn create(path: &Path) -> Result<Self, SearchError> {
        let file = locked(path)?;
        file.set_len(0).map_err(|source| SearchError::Store { path: path.display().to_string(), source })?;
        Ok(EvaluationStore { path: path.to_path_buf(), file: Some(file), ..Self::in_memory() })
    }

    /// Opens or creates the file; a torn last line is cut off.
    ///
    /// # Errors
    /// [`SearchError::Store`] when the file cannot be read or written, [`SearchError::StoreInUse`] when another search holds it,
    /// [`SearchError::DamagedStore`] when a whole line is not an evaluation.
    pub fn open(path: &Path) -> Result<Self, SearchError> {
        let at = |source| SearchError::Store { path: path.display().to_string(), source };
        let mut file = locked(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(at)?;
        let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64).map_err(at)?;
        }
        let mut store = EvaluationStore { path: path.to_path_buf(), file: Some(file), ..Self::in_memory() };
        for (index, line) in bytes[..whole].split(|&b| b == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            let line: Line = serde_json::from_slice(line).map_err(|error| SearchError::DamagedStore {
                path: path.display().to_string(),
                line: index + 1,
                reason: error.to_string(),
            })?;
            match line {
                Line::Evaluation { key, widths, accuracy, samples, standard_error } => {
                    let evaluation = Evaluation { accuracy, samples, standard_error, cached: true };
                    store.known.insert((key, widths), evaluation);
                }
                Line::Costs { key, costs } => {
                    store.costs.insert(key, costs);
                }
            }
        }
        Ok(store)
    }

    /// A store that lasts as long as the process.
    pub fn in_memory() -> Self {
        EvaluationStore { path: PathBuf::new(), file: None, known: BTreeMap::new(), costs: BTreeMap::new() }
    }

    /// The stored answer for `widths` under `key`, marked as cached.
    pub fn get(&self, key: &str, widths: &[BitWidth]) -> Option<Evaluation> {
        self.known.get(&(key.to_owned(), codes(widths))).copied()
    }

    /// Appends an answer; on return it is on disk.
    ///
    /// # Errors
    /// [`SearchError::Store`] when the file cannot be written.
    pub fn put(&mut self, key: &str, widths: &[BitWidth], evaluation: &Evaluation) -> Result<(), SearchError> {
        let Evaluation { accuracy, samples, standard_error, .. } = *evaluation;
        let (key, widths) = (key.to_owned(), codes(widths));
        self.append(&Line::Evaluation { key: key.clone(), widths: widths.clone(), accuracy, samples, standard_error })?;
        self.known.insert((key, widths), Evaluation { cached: true, ..*evaluation });
        Ok(())
    }

    /// The measured cost table stored under `key`.
    pub fn costs(&self, key: &str) -> Option<&[Vec<f64>]> {
        self.costs.get(key).map(Vec::as_slice)
    }

    /// Appends a measured cost table.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_costs(&mut self, key: &str, costs: Vec<Vec<f64>>) -> Result<(), SearchError> {
        self.append(&Line::Costs { key: key.to_owned(), costs: costs.clone() })?;
        self.costs.insert(key.to_owned(), costs);
        Ok(())
    }

    fn append(&mut self, line: &Line) -> Result<(), SearchError> {
        let at = |source: std::io::Error| SearchError::Store { path: self.path.display().to_string(), source };
        let mut text = serde_json::to_vec(line).map_err(|error| at(error.into()))?;
        text.push(b'\n');
        if let Some(file) = &mut self.file {
            file.write_all(&text).map_err(at)?;
            file.sync_data().map_err(at)?;
        }
        Ok(())
    }

    /// Number of answers under all keys.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

/// The file, open for appending, for this store alone. File systems that know no locks are taken as they are.
fn locked(path: &Path) -> Result<File, SearchError> {
    let at = |source| SearchError::Store { path: path.display().to_string(), source };
    let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(at)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(SearchError::StoreInUse { path: path.display().to_string() }),
        Err(TryLockError::Error(error)) if error.kind() != ErrorKind::Unsupported => Err(at(error)),
        _ => Ok(file),
    }
}

fn codes(widths: &[BitWidth]) -> Vec<u8> {
    widths.iter().map(|w| w.bits()).collect()
}

/// The hash under which evaluations are stored: equal parts in equal order give equal keys. The parts are what an evaluation
/// depends on besides the widths, for example the bytes of the model, of the data, the recipe as text and the seed.
pub fn store_key(parts: &[&[u8]]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().to_hex().to_string()
}

/// An environment that answers from a store what was evaluated before, by this process or an earlier one.
#[derive(Debug)]
pub struct Stored<E> {
    inner: E,
    store: EvaluationStore,
    key: String,
    paid: usize,
}

impl<E: Environment> Stored<E> {
    /// `key` names everything besides the widths that the answers of `inner` depend on, see [`store_key`].
    pub fn new(inner: E, store: EvaluationStore, key: String) -> Self {
        Stored { inner, store, key, paid: 0 }
    }

    /// Gives up the environment for the store.
    pub fn into_store(self) -> EvaluationStore {
        self.store
    }

    /// Evaluations that the inner environment had to answer.
    pub fn paid(&self) -> usize {
        self.paid
    }
}

impl<E: Environment> Environment for Stored<E> {
    fn layers(&self) -> &[LayerFacts] {
        self.inner.layers()
    }

    fn widths(&self) -> &[BitWidth] {
        self.inner.widths()
    }

    fn evaluate(&mut self, widths: &[BitWidth]) -> Result<Evaluation, SearchError> {
        if let Some(known) = self.store.get(&self.key, widths) {
            return Ok(known);
        }
        let evaluation = self.inner.evaluate(widths)?;
        self.paid += 1;
        self.store.put(&self.key, widths, &evaluation)?;
        Ok(evaluation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::tests::Additive;

    fn widths(bits: u8, depth: usize) -> Vec<BitWidth> {
        vec![BitWidth::new(bits).expect("2..=8"); depth]
    }

    #[test]
    fn a_second_run_pays_nothing_and_answers_the_same() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("evaluations.jsonl");
        let network = Additive::new(4, 1);
        let run = |network: Additive| {
            let store = EvaluationStore::open(&path).expect("opens");
            let mut stored = Stored::new(network, store, store_key(&[b"model", b"data"]));
            let answers: Vec<Evaluation> =
                [2, 3, 4, 3].map(|bits| stored.evaluate(&widths(bits, 4)).expect("answers")).into();
            (stored.paid(), answers)
        };
        let (paid, first) = run(network.clone());
        assert_eq!(paid, 3);
        let (paid, second) = run(network);
        assert_eq!(paid, 0);
        for (a, b) in first.iter().zip(&second) {
            assert_eq!(
                (a.accuracy.to_bits(), a.samples, a.standard_error),
                (b.accuracy.to_bits(), b.samples, b.standard_error)
            );
            assert!(b.cached);
        }
    }

    #[test]
    fn answers_of_other_keys_are_not_taken() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("evaluations.jsonl");
        for (seed, key) in [(1, "a"), (2, "b")] {
            let store = EvaluationStore::open(&path).expect("opens");
            let mut stored = Stored::new(Additive::new(4, seed), store, store_key(&[key.as_bytes()]));
            stored.evaluate(&widths(3, 4)).expect("answers");
            assert_eq!(stored.paid(), 1, "key {key}");
        }
        assert_ne!(store_key(&[b"ab", b"c"]), store_key(&[b"a", b"bc"]), "parts do not run into each other");
    }

    #[test]
    fn a_torn_last_line_is_cut_off_and_the_rest_kept() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("evaluations.jsonl");
        let answer = Evaluation { accuracy: 0.875, samples: 10, standard_error: None, cached: false };
        let mut store = EvaluationStore::open(&path).expect("opens");
        for bits in [2, 3] {
            store.put("k", &widths(bits, 2), &answer).expect("writes");
        }
        drop(store);
        let whole = std::fs::read(&path).expect("reads");
        let first_line = whole.iter().position(|&b| b == b'\n').expect("two lines") + 1;
        for end in first_line + 1..whole.len() {
            std::fs::write(&path, &whole[..end]).expect("writes");
            let mut store = EvaluationStore::open(&path).expect("opens");
            assert_eq!(store.len(), 1, "cut at {end}");
            store.put("k", &widths(4, 2), &answer).expect("writes");
            drop(store);
            let store = EvaluationStore::open(&path).expect("opens");
            assert!(store.get("k", &widths(2, 2)).is_some() && store.get("k", &widths(4, 2)).is_some());
        }
    }

    #[test]
    fn a_whole_line_that_is_none_is_reported_with_its_number() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("evaluations.jsonl");
        std::fs::write(
            &path,
            "{\"key\":\"k\",\"widths\":[2],\"accuracy\":0.5,\"samples\":1,\"standard_error\":null}\nnonsense\n",
        )
        .expect("writes");
        let error = EvaluationStore::open(&path).expect_err("damaged").to_string();
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn a_new_store_reads_nothing_of_the_old_one() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("evaluations.jsonl");
        let answer = Evaluation { accuracy: 0.875, samples: 10, standard_error: None, cached: false };
        std::fs::write(&path, "nonsense\n").expect("writes");
        let mut store = EvaluationStore::create(&path).expect("begins anew");
        store.put("k", &widths(2, 2), &answer).expect("writes");
        drop(store);
        assert_eq!(EvaluationStore::open(&path).expect("opens").len(), 1);
        assert!(EvaluationStore::create(&path).expect("begins anew").is_empty());
        assert!(EvaluationStore::create(folder.path()).is_err(), "a folder is no store");
    }

    #[test]
    fn a_store_in_use_is_refused_and_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("evaluations.jsonl");
        let answer = Evaluation { accuracy: 0.875, samples: 10, standard_error: None, cached: false };
        let mut first = EvaluationStore::create(&path).expect("begins");
        first.put("k", &widths(2, 2), &answer).expect("writes");
        for second in [EvaluationStore::create(&path), EvaluationStore::open(&path)] {
            let error = second.expect_err("in use").to_string();
            assert!(error.contains("another search") && error.contains("evaluations.jsonl"), "{error}");
        }
        first.put("k", &widths(3, 2), &answer).expect("writes");
        drop(first);
        assert_eq!(EvaluationStore::open(&path).expect("free again").len(), 2);
    }

    #[test]
    fn a_cost_table_is_read_back_as_it_was() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("evaluations.jsonl");
        let costs: Vec<Vec<f64>> = vec![vec![1.0, 0.1 + 0.2, 1.0 / 3.0], vec![1e-300, 7.25, 1e9 / 7.0]];
        let mut store = EvaluationStore::open(&path).expect("opens");
        store.put_costs("k", costs.clone()).expect("writes");
        drop(store);
        let store = EvaluationStore::open(&path).expect("opens");
        assert_eq!(store.costs("k"), Some(&costs[..]));
        assert_eq!(store.costs("other"), None);
    }
}
