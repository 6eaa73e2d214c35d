//! Constant tensors of the graph.

use std::fmt;
use std::sync::Arc;

/// A dense row-major f32 constant; clones share the data.
#[derive(Clone, PartialEq)]
pub struct Tensor {
    dims: Vec<usize>,
    data: Arc<[f32]>,
}

impl Tensor {
    /// A tensor of these extents; `None` where they do not match the number of values.
    pub fn new(dims: Vec<usize>, data: impl Into<Arc<[f32]>>) -> Option<Self> {
        let data = data.into();
        let len = dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d))?;
        (len == data.len()).then_some(Tensor { dims, data })
    }

    /// Extents, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The values, row-major.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The values, shared.
    pub fn shared(&self) -> Arc<[f32]> {
        Arc::clone(&self.data)
    }

    /// The same extents with each value replaced.
    pub fn with_data(&self, data: impl Into<Arc<[f32]>>) -> Self {
        let data = data.into();
        assert_eq!(data.len(), self.data.len(), "with_data keeps the extents");
        Tensor { dims: self.dims.clone(), data }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor{:?}", self.dims)
    }
}
