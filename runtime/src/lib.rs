//! Executes releqc artifacts.

mod bit_width;

pub use bit_width::BitWidth;
