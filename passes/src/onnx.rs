//! ONNX files: the messages, a reader that decodes bytes and tensors, a writer for float graphs.
//!
//! Invariant: nothing here knows tract; the meaning of operators is the import's business.

pub(crate) mod attribute;
pub mod external;
pub(crate) mod functions;
#[rustfmt::skip]
pub mod onnx_protobuf;
mod reader;
pub(crate) mod writer;

pub use reader::{ReadError, decode_model, element_type_name, metadata, tensor_dims, tensor_f32, tensor_i64};
pub use writer::{Unwritable, write};
