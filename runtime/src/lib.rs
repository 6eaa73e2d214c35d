//! Executes releqc artifacts.
//!
//! Three executors give the same output bytes for the same artifact and input and share no arithmetic:
//! [`mod@reference`], the CPU session, and the accelerator simulator. docs/quantization.md is their specification. Threads that run them round
//! to nearest, as every process begins; whether they flush subnormal numbers does not matter.

pub mod accel;
mod bit_width;
pub mod c_api;
mod error;
pub mod float;
pub mod format;
pub mod function;
pub mod isa;
mod kernels;
pub mod ops;
pub mod pack;
mod pixels;
pub mod program;
pub mod reference;
pub mod session;
pub mod text;
pub mod verify;

pub use bit_width::BitWidth;
pub use error::{FormatError, RunError};
pub use isa::Isa;
pub use pixels::Pixels;
pub use session::{Session, SessionOptions};
