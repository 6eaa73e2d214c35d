//! What may be asked about a network, and the name under which its answer is kept.

use releqc_runtime::BitWidth;
use serde::{Deserialize, Serialize};

/// One question. Its `key` is the hash of everything the answer depends on besides the widths, see [`store_key`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Question {
    /// The accuracy after the run that an evaluation of a search gets.
    Evaluation {
        /// Hash of what it depends on.
        key: String,
        /// Bits of each weight layer.
        widths: Vec<u8>,
    },
    /// The parameters after a run whose recipe is in the key.
    Run {
        /// Hash of what it depends on.
        key: String,
        /// Bits of each weight layer.
        widths: Vec<u8>,
    },
    /// The parameters of the copy that has unlearned the validation samples.
    Unlearning {
        /// Hash of what it depends on.
        key: String,
    },
    /// A cost table that is measured: the only answer that another measurement would change.
    Costs {
        /// Hash of what it depends on.
        key: String,
    },
}

impl Question {
    /// The accuracy at these widths.
    pub fn evaluation(key: &str, widths: &[BitWidth]) -> Self {
        Question::Evaluation { key: key.to_owned(), widths: codes(widths) }
    }

    /// The parameters after a run at these widths.
    pub fn run(key: &str, widths: &[BitWidth]) -> Self {
        Question::Run { key: key.to_owned(), widths: codes(widths) }
    }

    /// 64 hexadecimal digits: equal for equal questions alone.
    pub fn id(&self) -> String {
        let (kind, key, widths): (&str, &str, &[u8]) = match self {
            Question::Evaluation { key, widths } => ("evaluation", key, widths),
            Question::Run { key, widths } => ("run", key, widths),
            Question::Unlearning { key } => ("unlearning", key, &[]),
            Question::Costs { key } => ("costs", key, &[]),
        };
        store_key(&[kind.as_bytes(), key.as_bytes(), widths])
    }

    /// What the answer depends on besides the widths.
    pub fn key(&self) -> &str {
        match self {
            Question::Evaluation { key, .. }
            | Question::Run { key, .. }
            | Question::Unlearning { key }
            | Question::Costs { key } => key,
        }
    }

    /// The widths asked about; `None` where there are none, or one is none of 2 to 8 bits.
    pub fn widths(&self) -> Option<Vec<BitWidth>> {
        match self {
            Question::Evaluation { widths, .. } | Question::Run { widths, .. } => {
                widths.iter().map(|&bits| BitWidth::new(bits)).collect()
            }
            Question::Unlearning { .. } | Question::Costs { .. } => None,
        }
    }

    /// The kind in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Question::Evaluation { .. } => "evaluation",
            Question::Run { .. } => "run",
            Question::Unlearning { .. } => "unlearning",
            Question::Costs { .. } => "costs",
        }
    }
}

fn codes(widths: &[BitWidth]) -> Vec<u8> {
    widths.iter().map(|width| width.bits()).collect()
}

/// Hash of parts: equal parts in equal order give equal keys, in hexadecimal digits. For answers the parts are what one depends on besides
/// the widths, for example the bytes of the model, of the data, the recipe as text and the seed.
pub fn store_key(parts: &[&[u8]]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_questions_have_different_names() {
        assert_ne!(store_key(&[b"ab", b"c"]), store_key(&[b"a", b"bc"]), "parts do not run into each other");
        let widths = [BitWidth::MIN, BitWidth::MAX];
        let all = [
            Question::evaluation("a", &widths),
            Question::evaluation("b", &widths),
            Question::evaluation("a", &widths[..1]),
            Question::run("a", &widths),
            Question::Unlearning { key: "a".into() },
            Question::Costs { key: "a".into() },
        ];
        let names: std::collections::BTreeSet<String> = all.iter().map(Question::id).collect();
        assert_eq!(names.len(), all.len());
        assert_eq!(all[0].widths().as_deref(), Some(&widths[..]));
    }
}
