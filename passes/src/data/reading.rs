//! What a data set is read for: the inputs of a network, and how pictures become them.

use super::planes::Planes;
use super::{DataError, Geometry, Preprocessing};
use crate::ir::{ElementType, Graph, Op, Shape};
use releqc_runtime::program::Port;
use std::path::Path;

/// One input of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// ONNX name.
    pub name: String,
    /// Extents of one sample, the batch axis included.
    pub shape: Shape,
    /// Element type in ONNX.
    pub element: ElementType,
}

impl From<&Port> for Input {
    fn from(port: &Port) -> Self {
        let shape = Shape::new(port.dims.iter().map(|&d| d as usize).collect());
        Input { name: port.name.clone(), shape, element: port.element }
    }
}

impl Input {
    /// The inputs of a graph, in the order in which a sample holds them.
    pub fn of(graph: &Graph) -> Vec<Input> {
        let input = |node: &crate::ir::Node| {
            let Op::Input(element) = node.op else { unreachable!("inputs of a graph are inputs") };
            Input { name: node.name.clone(), shape: node.shape.clone(), element }
        };
        graph.inputs().map(|(_, node)| input(node)).collect()
    }

    /// Whether stored pixels are scaled for it; an integer input takes them as they are.
    pub(super) fn is_float(&self) -> bool {
        matches!(self.element, ElementType::F32 | ElementType::F16 | ElementType::Bf16 | ElementType::F64)
    }
}

/// What a data set is read for.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The network's inputs, at least one.
    pub inputs: Vec<Input>,
    /// How stored pixels become inputs; scaled to 0..1 where nothing is stated.
    pub preprocessing: Option<Preprocessing>,
    /// Whether the user states the preprocessing for just these data: it is then an error where they are no pixels.
    pub stated: bool,
    /// How pictures of another size are brought to the network's.
    pub geometry: Geometry,
}

impl Reading {
    /// For a network with one float input of this shape; nothing stated.
    pub fn of(shape: &Shape) -> Self {
        let input = Input { name: "x".into(), shape: shape.clone(), element: ElementType::F32 };
        Reading { inputs: vec![input], preprocessing: None, stated: false, geometry: Geometry::default() }
    }

    /// With this preprocessing.
    pub fn with(self, preprocessing: Preprocessing) -> Self {
        Reading { preprocessing: Some(preprocessing), ..self }
    }

    /// Whether the network takes floats anywhere, to which pixels are scaled.
    pub fn takes_floats(&self) -> bool {
        self.inputs.iter().any(Input::is_float)
    }

    /// Values of one sample: those of all inputs.
    pub(super) fn sample_shape(&self) -> Shape {
        match &self.inputs[..] {
            [only] => only.shape.clone(),
            inputs => Shape::vector(inputs.iter().map(|input| input.shape.len()).sum()),
        }
    }

    /// The only input, for kinds of data that hold one array of samples.
    pub(super) fn only(&self, path: &Path) -> Result<&Input, DataError> {
        match &self.inputs[..] {
            [only] => Ok(only),
            inputs => {
                let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
                let what = format!(
                    "the network has {} inputs; an .npz file or a folder of .npy files with one array for each is required: {}",
                    inputs.len(),
                    names.join(", ")
                );
                Err(DataError::Ambiguous { path: path.to_owned(), what })
            }
        }
    }

    /// How the pixels of an input are scaled: not at all where it takes integers.
    pub(super) fn pixels(&self, input: &Input) -> Preprocessing {
        match &self.preprocessing {
            _ if !input.is_float() => Preprocessing::Raw,
            Some(preprocessing) => preprocessing.clone(),
            None => Preprocessing::unit(),
        }
    }

    /// Refuses what the flags state and the inputs cannot take.
    pub(super) fn check(&self) -> Result<(), DataError> {
        self.geometry.check()?;
        let Some(preprocessing) = &self.preprocessing else { return Ok(()) };
        let normalizes = matches!(preprocessing, Preprocessing::Normalize { .. });
        for input in &self.inputs {
            if input.is_float() {
                preprocessing.check(Planes::of(&input.shape).channels)?;
            } else if self.stated && normalizes && self.inputs.len() == 1 {
                let what = format!("the input {:?} takes integers, so pixels stay 0..255", input.name);
                return Err(DataError::Preprocessing { what });
            }
        }
        Ok(())
    }

    /// Refuses values that are network inputs as they are where the user states how pixels become such.
    pub(super) fn check_values(&self, path: &Path, dtype: &str) -> Result<(), DataError> {
        match &self.preprocessing {
            Some(Preprocessing::Normalize { .. }) if self.stated => {
                let what = format!(
                    "type {dtype}: samples that are no pixels are network inputs as they are, so that mean and std do not apply; leave them out"
                );
                Err(DataError::damaged(path, what))
            }
            _ => Ok(()),
        }
    }
}
