//! Retraining of an imported graph under quantization.
//!
//! Takes a calibrated graph and data, returns an annotated graph whose weights lie exactly on their codes. Does not
//! choose widths and does not round activations to integers: that is the search's and the quantizer's part.
//!
//! ```text
//! kernels    forward and backward of every layer over slices
//! tape       any layer as a Burn operation with its own gradient
//! layers     the layers as such operations: product, normalize, round, sum, pool, loss
//! layout     where the values of a tensor lie
//! general    operators without a kernel of their own
//! network    the IR graph in NHWC, with its parameters in one list
//! recording  one forward pass of it on the tape
//! inference  the same without a tape, a few samples at a time
//! session    batches, updates: one run
//! statistics of batch normalisation, over batches
//! trainer    retrain, train_float, evaluate
//! reconstruct  a rounded network fitted to the float network's results, without labels
//! curvature  how curved the loss is in the weights of each layer
//! renormalize  batch normalisation put back where it was folded away
//! oscillation  weights that swing between two codes are held
//! blocks     where a network is one tensor wide
//! export     parameters back into graphs, weights on their codes
//! ```

/// Raised by every change of this module that changes what a run yields, so that kept evaluations of earlier code are not taken for ones of
/// today's.
pub const REVISION: u32 = 3;

mod augment;
mod batches;
mod blocks;
mod buffers;
mod curvature;
mod export;
mod general;
mod inference;
pub mod kernels;
mod layers;
mod layout;
mod network;
mod optimizer;
mod oscillation;
mod recipe;
mod reconstruct;
mod recording;
mod renormalize;
mod session;
mod statistics;
mod steps;
pub mod tape;
mod trainer;

pub use curvature::{Probe, mean_hessian_diagonals};
pub use inference::Inference;
pub use network::NetworkError;
pub use recipe::{Augmentation, Comparison, NormStatistics, Optimizer, Oscillation, Recipe, WeightMethod};
pub use reconstruct::{Aim, Reconstruction, Reconstructor};
pub use renormalize::with_batch_norm;
pub use session::Progress;
pub use trainer::{
    Evaluation, Evaluator, Retrained, TrainError, Trainer, init_random, train_float, train_float_parameters,
    with_parameters,
};

#[cfg(test)]
mod tests;
