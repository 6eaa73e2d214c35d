//! Why a compilation ends without an artifact.

use crate::activation_bits::ActivationBitsError;
use crate::annotation::AnnotationError;
use crate::import::{ErrorKind, ImportError};
use crate::lower::LowerError;
use crate::onnx::Unwritable;
use crate::quantize::QuantizeError;
use crate::rewrite::RewriteError;
use crate::search::SearchError;
use crate::train::{NetworkError, TrainError};
use releqc_runtime::accel::AccelError;
use releqc_runtime::{FormatError, RunError};
use thiserror::Error;

/// Why a compilation ends without an artifact.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The model cannot be read or is not supported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A rewrite broke the graph.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    /// The model carries an annotation that cannot be used.
    #[error(transparent)]
    Annotation(#[from] AnnotationError),
    /// The annotated network has no ONNX form.
    #[error("--annotated: {0}")]
    Unwritable(#[from] Unwritable),
    /// An option does not fit the network or the data.
    #[error("{0}")]
    Option(String),
    /// A tensor cannot have the width that was asked for.
    #[error("--activation-bits: {0}")]
    ActivationBits(#[from] ActivationBitsError),
    /// Nothing to quantize.
    #[error("{network}: the network has no layer with weights; there is nothing to compile")]
    NoWeights {
        /// ONNX graph name.
        network: String,
    },
    /// No integer form.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// No executable form.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// No form for the accelerator.
    #[error("accelerator: {0}")]
    Accelerator(#[from] AccelError),
    /// The network cannot be trained.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Retraining failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The search failed.
    #[error(transparent)]
    Search(SearchError),
    /// The artifact does not run here.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The compiler wrote what its own loader refuses.
    #[error("the artifact just written is refused by the loader, which is a defect of releqc: {0}")]
    Unloadable(FormatError),
    /// Reference executor and CPU kernels differ.
    #[error("the {isa} kernels and the reference executor give different bytes, which is a defect of releqc")]
    ExecutorsDiffer {
        /// Instruction set of the kernels.
        isa: String,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl From<SearchError> for CompileError {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::Interrupted => CompileError::Interrupted,
            other => CompileError::Search(other),
        }
    }
}

/// Whose fault a failed compilation is; the command line's exit codes follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Unreadable or contradictory input.
    Input,
    /// A valid model that is not supported.
    Unsupported,
    /// The caller stopped it.
    Interrupted,
    /// A defect of the compiler.
    Defect,
}

impl CompileError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            CompileError::Import(error) => match error.kind() {
                ErrorKind::Invalid => Fault::Input,
                ErrorKind::Unsupported => Fault::Unsupported,
                ErrorKind::Violation => Fault::Defect,
            },
            CompileError::Option(_) | CompileError::ActivationBits(_) | CompileError::Annotation(_) => Fault::Input,
            CompileError::Search(error) => match error {
                // Of the network, not of the search that asked for it.
                SearchError::Evaluation { source, .. } => {
                    source.downcast_ref::<CompileError>().map_or(Fault::Defect, CompileError::fault)
                }
                SearchError::Interrupted => Fault::Interrupted,
                SearchError::Invalid { .. }
                | SearchError::Store { .. }
                | SearchError::NoStore { .. }
                | SearchError::DamagedStore { .. } => Fault::Input,
            },
            CompileError::Train(error) => match error {
                TrainError::Network(_) | TrainError::Outputs(_) => Fault::Unsupported,
                TrainError::Widths { .. } => Fault::Defect,
                TrainError::SampleShape { .. }
                | TrainError::Parameters
                | TrainError::Empty
                | TrainError::NoLabels
                | TrainError::Label { .. } => Fault::Input,
            },
            CompileError::NoWeights { .. }
            | CompileError::Quantize(_)
            | CompileError::Lower(_)
            | CompileError::Unwritable(_)
            | CompileError::Accelerator(_)
            | CompileError::Network(_) => Fault::Unsupported,
            CompileError::Rewrite(_)
            | CompileError::Run(_)
            | CompileError::Unloadable(_)
            | CompileError::ExecutorsDiffer { .. } => Fault::Defect,
            CompileError::Interrupted => Fault::Interrupted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evaluation_that_fails_is_the_fault_of_what_failed() {
        let evaluation = |source: CompileError| {
            CompileError::from(SearchError::Evaluation { widths: "2,2".into(), source: Box::new(source) })
        };
        let defect = CompileError::ExecutorsDiffer { isa: "scalar".into() };
        assert_eq!(evaluation(defect).fault(), Fault::Defect);
        assert_eq!(evaluation(CompileError::NoWeights { network: "n".into() }).fault(), Fault::Unsupported);
        assert_eq!(evaluation(TrainError::Empty.into()).fault(), Fault::Input);
        assert_eq!(evaluation(CompileError::Interrupted).fault(), Fault::Interrupted);
        let other = SearchError::Evaluation { widths: "2".into(), source: "unknown".into() };
        assert_eq!(CompileError::from(other).fault(), Fault::Defect);
    }
}
