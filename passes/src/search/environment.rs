//! What a search needs to know of a network, and how it asks for the accuracy of one choice of widths.

use releqc_runtime::BitWidth;

/// What the agent knows of one weight layer before any evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerFacts {
    /// The layer's name in the network, for messages and reports.
    pub name: String,
    /// Output channels or output features, `n`.
    pub outputs: usize,
    /// Input channels per group or input features, `c`.
    pub inputs: usize,
    /// Edge of the kernel, `k`; 0 for a fully connected layer.
    pub kernel: usize,
    /// Number of weights (not bytes).
    pub weights: u64,
    /// Multiply-accumulates for one input sample.
    pub macs: u64,
    /// Standard deviation of the float weights.
    pub weight_std: f32,
}

/// The measured accuracy of one choice of widths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Share of right answers (or of agreement with the float network), 0..=1.
    pub accuracy: f64,
    /// Number of samples behind `accuracy`; 0 says that the accuracy is exact and not an estimate.
    pub samples: usize,
    /// Standard error of the *difference* between this accuracy and the reference, 0..=1, where the environment
    /// can compare sample by sample; `None` leaves the estimate to [`Evaluation::noise`].
    pub standard_error: Option<f64>,
    /// Whether the answer came from a store and cost nothing. Never influences a search.
    pub cached: bool,
}

impl Evaluation {
    /// Standard error of the difference between this accuracy and the reference accuracy, in points (0..=100).
    ///
    /// Without the environment's own figure: both networks see the same samples, so only samples on which they disagree
    /// count; a fine-tuned quantized network disagrees with its float network about as often as it errs, which gives
    /// `sqrt((1 - accuracy) / samples)` for an unbiased difference.
    pub fn noise(&self) -> f64 {
        match self.standard_error {
            Some(error) => 100.0 * error.max(0.0),
            None if self.samples == 0 => 0.0,
            None => 100.0 * ((1.0 - self.accuracy).clamp(0.0, 1.0) / self.samples as f64).sqrt(),
        }
    }
}

/// A network whose accuracy at given widths can be measured.
///
/// The answer of [`evaluate`](Environment::evaluate) is a function of the widths alone: not of the order of questions, of
/// time or of the number of threads. A search repeated from a store of answers then repeats its decisions.
pub trait Environment {
    /// The weight layers in the order in which widths are given; never empty, the same at every call.
    fn layers(&self) -> &[LayerFacts];

    /// The action set, ascending, without repeats, at least two widths; the same at every call.
    fn widths(&self) -> &[BitWidth];

    /// Measures the accuracy at one width per layer.
    ///
    /// # Errors
    /// [`SearchError::Interrupted`] when the measurement was given up (the search then ends with its best result so far);
    /// any other error ends the search.
    fn evaluate(&mut self, widths: &[BitWidth]) -> Result<Evaluation, SearchError>;

    /// Says that these widths will be asked for soon. An environment that can measure several choices at once begins with them; answers do not
    /// depend on it.
    ///
    /// # Errors
    /// As [`evaluate`](Environment::evaluate).
    fn ask(&mut self, widths: &[BitWidth]) -> Result<(), SearchError> {
        let _ = widths;
        Ok(())
    }
}

/// Why a search ended without a result, or an evaluation without an answer.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The evaluation was given up on request: a time limit or an interrupt.
    #[error("interrupted")]
    Interrupted,
    /// Training or measuring failed.
    #[error("evaluation of widths {widths}: {source}")]
    Evaluation {
        /// The widths asked for, as text.
        widths: String,
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Input that no search can be run on.
    #[error("{subject}: {seen}; {required}")]
    Invalid {
        /// What is wrong.
        subject: String,
        /// The value seen.
        seen: String,
        /// What is required.
        required: String,
    },
    /// The store of evaluations cannot be read or written.
    #[error("evaluation store {path}: {source}")]
    Store {
        /// The file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// What is to be a store of evaluations holds something else.
    #[error("evaluation store {path}: {found}; an empty folder, a new name or a store of this version is required")]
    NoStore {
        /// The folder.
        path: String,
        /// What was found.
        found: String,
    },
    /// A file in a store of evaluations is not the answer that its name promises.
    #[error("evaluation store: {path}: {reason}; remove the file, and it will be computed again")]
    DamagedStore {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl SearchError {
    pub(crate) fn invalid(subject: impl Into<String>, seen: impl Into<String>, required: impl Into<String>) -> Self {
        SearchError::Invalid { subject: subject.into(), seen: seen.into(), required: required.into() }
    }
}

/// Widths as text, `2,2,3,2`.
pub fn widths_text(widths: &[BitWidth]) -> String {
    widths.iter().map(BitWidth::to_string).collect::<Vec<_>>().join(",")
}

/// Plain mean of the widths in bits, the "average" of the paper's tables; 0 for none.
pub fn mean_bits(widths: &[BitWidth]) -> f64 {
    if widths.is_empty() {
        return 0.0;
    }
    widths.iter().map(|w| f64::from(w.bits())).sum::<f64>() / widths.len() as f64
}

/// The description of a network that a search works on, checked once.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The weight layers.
    pub layers: Vec<LayerFacts>,
    /// The action set, ascending.
    pub widths: Vec<BitWidth>,
}

impl Problem {
    /// Copies and checks what `environment` says of itself.
    ///
    /// # Errors
    /// [`SearchError::Invalid`] for a network without layers or an action set that is not ascending or has fewer than two
    /// widths.
    pub fn of(environment: &dyn Environment) -> Result<Self, SearchError> {
        let layers = environment.layers().to_vec();
        let widths = environment.widths().to_vec();
        if layers.is_empty() {
            return Err(SearchError::invalid("network", "no weight layer", "a search needs at least one"));
        }
        if widths.len() < 2 || widths.windows(2).any(|w| w[0] >= w[1]) {
            return Err(SearchError::invalid("widths", widths_text(&widths), "needs two or more, ascending"));
        }
        Ok(Problem { layers, widths })
    }

    /// Number of weight layers.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// All layers at the largest width of the action set.
    pub fn widest(&self) -> Vec<BitWidth> {
        self.uniform(self.widths.len() - 1)
    }

    /// All layers at the width with this index in the action set.
    ///
    /// # Panics
    /// When `action` is not an index of the action set.
    pub fn uniform(&self, action: usize) -> Vec<BitWidth> {
        vec![self.widths[action]; self.layers.len()]
    }

    /// Widths as indices into the action set; `None` when a width is not in it or the number of layers differs.
    pub fn actions(&self, widths: &[BitWidth]) -> Option<Vec<usize>> {
        (widths.len() == self.layers.len())
            .then(|| widths.iter().map(|w| self.widths.binary_search(w).ok()).collect())
            .flatten()
    }

    /// Indices into the action set as widths.
    ///
    /// # Panics
    /// When an index is outside the action set.
    pub fn chosen(&self, actions: &[usize]) -> Vec<BitWidth> {
        actions.iter().map(|&a| self.widths[a]).collect()
    }

    /// Number of different choices, saturating.
    pub fn choices(&self) -> u64 {
        (self.widths.len() as u64).saturating_pow(self.layers.len() as u32)
    }
}
