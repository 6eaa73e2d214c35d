//! The bit-serial accelerator: instruction set, programs, functional simulator and closed-form cost.
//!
//! docs/accelerator.md describes the machine. Time on it is proportional to the width of the weights: activations stay 8 bit
//! in parallel, weights enter one bit plane a cycle.
//!
//! Invariant: [`table`] alone says which instructions exist and where their fields lie; the encoder, the decoder, the text form
//! and the documentation's table come from it, and [`step`] matches all of them.
//!
//! Invariant: nothing here calls [`crate::reference`] or a CPU kernel. The operators of [`crate::float`] are shared by
//! specification: they run on the host.

mod access;
mod array;
mod banks;
pub mod config;
#[cfg(feature = "encode")]
pub mod cost;
pub mod cycle;
mod error;
mod expand;
mod host;
#[cfg(feature = "encode")]
pub mod lower;
pub mod planes;
pub mod program;
pub mod simulate;
pub mod step;
pub mod table;
pub mod text;
pub mod verify;

pub use config::{AccelConfig, Serial};
pub use error::AccelError;
#[cfg(feature = "encode")]
pub use lower::lower;
pub use program::AccelProgram;
pub use simulate::Simulator;
