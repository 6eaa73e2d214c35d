//! Evaluations kept on disk, so that a second run, a resumed run or a finer search pays only for what is new.
//!
//! The file is text, one JSON object a line, only ever appended to:
//! `{"key":"<hex>","widths":[2,2,3,2],"accuracy":0.9391,"samples":5000,"standard_error":null}`.
//! Every line is written with one call and synced before the evaluation is used, so after a crash at most the last line is
//! torn; it is cut off when the file is opened again. Lines of other keys (another network, data set, recipe or seed) are kept
//! and ignored.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use releqc_runtime::BitWidth;
use serde::{Deserialize, Serialize};

use super::environment::{Environment, Evaluation, LayerFacts, SearchError};

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    widths: Vec<u8>,
    accuracy: f64,
    samples: usize,
    standard_error: Option<f64>,
}

/// An append-only file of evaluations, read once.
#[derive(Debug)]
pub struct EvaluationStore {
    path: PathBuf,
    /// `None` keeps the answers in memory only.
    file: Option<File>,
    known: BTreeMap<(String, Vec<u8>), Evaluation>,
}

impl EvaluationStore {
    /// Opens or creates the file; a torn last line is cut off.
    ///
    /// # Errors
    /// [`SearchError::Store`] when the file cannot be read or written, [`SearchError::DamagedStore`] when a whole line is
    /// not an evaluation.
    pub fn open(path: &Path) -> Result<Self, SearchError> {
        let at = |source| SearchError::Store { path: path.display().to_string(), source };
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(at)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(at)?;
        let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64).map_err(at)?;
        }
        let mut known = BTreeMap::new();
        for (index, line) in bytes[..whole].split(|&b| b == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            let line: Line = serde_json::from_slice(line).map_err(|error| SearchError::DamagedStore {
                path: path.display().to_string(),
                line: index + 1,
                reason: error.to_string(),
            })?;
            let evaluation = Evaluation {
                accuracy: line.accuracy,
                samples: line.samples,
                standard_error: line.standard_error,
                cached: true,
            };
            known.insert((line.key, line.widths), evaluation);
        }
        Ok(EvaluationStore { path: path.to_path_buf(), file: Some(file), known })
    }

    /// A store that lasts as long as the process.
    pub fn in_memory() -> Self {
        EvaluationStore { path: PathBuf::new(), file: None, known: BTreeMap::new() }
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
        let line = Line {
            key: key.to_owned(),
            widths: codes(widths),
            accuracy: evaluation.accuracy,
            samples: evaluation.samples,
            standard_error: evaluation.standard_error,
        };
        let at = |source: std::io::Error| SearchError::Store { path: self.path.display().to_string(), source };
        let mut text = serde_json::to_vec(&line).map_err(|error| at(error.into()))?;
        text.push(b'\n');
        if let Some(file) = &mut self.file {
            file.write_all(&text).map_err(at)?;
            file.sync_data().map_err(at)?;
        }
        self.known.insert((line.key, line.widths), Evaluation { cached: true, ..*evaluation });
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

    /// Evaluations that the inner environment had to answer.
    pub fn paid(&self) -> usize {
        self.paid
    }

    /// The environment inside.
    pub fn into_inner(self) -> E {
        self.inner
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
