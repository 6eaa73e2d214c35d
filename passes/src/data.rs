//! Samples the compiler learns from and measures on, and the readers that make them from files.
//!
//! [`load`] reads every part of a data set, [`load_for_compilation`] all but the test part, [`load_for_evaluation`] the part that
//! accuracy is measured on. Readers know the network's inputs beforehand ([`Reading`]), so that no file makes them allocate more than
//! its stated samples need.

mod arrays;
mod cifar;
mod dataset;
mod elements;
mod error;
mod geometry;
mod idx;
mod images;
mod load;
pub mod npy;
mod npz;
pub(crate) mod planes;
mod preprocessing;
mod reading;
mod split;
mod stream;
#[cfg(test)]
mod tests;

pub use dataset::{Dataset, Samples};
pub use elements::input_values;
pub use error::DataError;
pub use geometry::{Geometry, Resize};
pub use load::{Part, Splits, load, load_arrays, load_for_compilation, load_for_evaluation};
pub use preprocessing::Preprocessing;
pub use reading::{Input, Reading};
