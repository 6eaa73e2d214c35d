//! Extents of the network's inputs: what the file states, what the user gives, and which axis is the batch.
//!
//! A sample has a batch axis of 1. An open first extent (named, -1, 0 or `?`) is the batch; every other open extent has to be given.

use super::constant::element_count;
use super::error::{Finding, Problem, invalid, unsupported};
use super::source::MAX_ELEMENTS;
use super::types;
use crate::onnx::onnx_protobuf::tensor_proto::DataType;
use crate::onnx::onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use crate::onnx::onnx_protobuf::{ValueInfoProto, type_proto};
use std::collections::BTreeMap;

/// One extent as the file states it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Extent {
    Fixed(usize),
    Named(String),
    Open,
}

impl Extent {
    fn of(dimension: &Dimension) -> Self {
        match &dimension.value {
            Some(dimension::Value::DimValue(value)) if *value >= 1 => {
                Extent::Fixed(usize::try_from(*value).unwrap_or(usize::MAX))
            }
            Some(dimension::Value::DimParam(name)) if !name.is_empty() => Extent::Named(name.clone()),
            _ => Extent::Open,
        }
    }

    fn text(&self) -> String {
        match self {
            Extent::Fixed(value) => value.to_string(),
            Extent::Named(name) => name.clone(),
            Extent::Open => "?".into(),
        }
    }
}

/// An input of the network as the file states it.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) kind: DataType,
    /// `None` where the file states no shape.
    extents: Option<Vec<Extent>>,
}

impl Input {
    pub(super) fn of(value: &ValueInfoProto) -> Result<Self, Problem> {
        let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
            return Err(unsupported("an input that is no tensor; a tensor is required"));
        };
        let kind = types::data_type(i64::from(tensor.elem_type.unwrap_or(0)))?;
        types::element(kind).map_err(|problem| Problem { text: format!("input of {}", problem.text), ..problem })?;
        let extents = tensor.shape.as_ref().map(|shape| shape.dim.iter().map(Extent::of).collect());
        Ok(Input { name: value.name().to_owned(), kind, extents })
    }

    fn text(&self) -> String {
        match &self.extents {
            None => "input without a shape".into(),
            Some(extents) => {
                let shown: Vec<String> = extents.iter().map(Extent::text).collect();
                format!("input of shape [{}]", shown.join(", "))
            }
        }
    }

    /// The extents that `given` states for it.
    fn fitted(&self, given: &[usize]) -> Result<Vec<usize>, Problem> {
        let fits = self.extents.as_ref().is_none_or(|extents| {
            extents.len() == given.len()
                && extents.iter().zip(given).enumerate().all(|(axis, (stated, &given))| match stated {
                    Extent::Fixed(value) => axis == 0 || *value == given,
                    _ => true,
                })
        });
        if fits && given.iter().all(|&extent| extent >= 1) {
            return Ok(given.to_vec());
        }
        Err(invalid(format!("{} and --shape {given:?}; they must agree", self.text())))
    }

    /// The extents where only the batch is open; `known` has the values of names.
    fn closed(&self, known: &BTreeMap<String, usize>) -> Result<Vec<usize>, Problem> {
        let Some(extents) = &self.extents else {
            return Err(unsupported(format!("{}; every extent must be known", self.text()))
                .advise(format!("give its extents: --shape {}=1,..", self.name)));
        };
        let value = |(axis, extent): (usize, &Extent)| match extent {
            Extent::Fixed(value) => Some(*value),
            Extent::Named(name) => known.get(name).copied().or((axis == 0).then_some(1)),
            Extent::Open => (axis == 0).then_some(1),
        };
        let dims: Option<Vec<usize>> = extents.iter().enumerate().map(value).collect();
        dims.ok_or_else(|| {
            let shown = extents.iter().enumerate().map(|place| value(place).map_or(place.1.text(), |v| v.to_string()));
            let wanted = shown.collect::<Vec<_>>().join(",");
            unsupported(format!("{}; every extent but the batch must be a number", self.text()))
                .advise(format!("give the numbers: --shape {}={wanted}", self.name))
        })
    }
}

/// The first extent of a value, where the file states it as a number.
pub(super) fn first_extent(value: &ValueInfoProto) -> Option<usize> {
    let type_proto::Value::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()? else { return None };
    match tensor.shape.as_ref()?.dim.first().map(Extent::of) {
        Some(Extent::Fixed(value)) => Some(value),
        _ => None,
    }
}

/// Extents of every input, in order, for a batch of 1 where the batch is open. `shapes` are given by the user, by input.
pub(super) fn resolve(
    inputs: &[Input],
    shapes: &BTreeMap<String, Vec<usize>>,
    findings: &mut Vec<Finding>,
) -> Vec<Vec<usize>> {
    for name in shapes.keys().filter(|name| inputs.iter().all(|input| input.name != **name)) {
        let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        findings.push(invalid(format!("no input of this name; the inputs are {names:?}")).about(name));
    }
    let mut known = BTreeMap::new();
    for input in inputs {
        if let (Some(given), Some(extents)) = (shapes.get(&input.name), &input.extents) {
            for (extent, &value) in extents.iter().zip(given) {
                if let Extent::Named(name) = extent {
                    known.insert(name.clone(), value);
                }
            }
        }
    }
    for input in inputs {
        if let Some([Extent::Named(name), ..]) = input.extents.as_deref() {
            known.entry(name.clone()).or_insert(1);
        }
    }
    let mut all = Vec::new();
    for input in inputs {
        let dims = match shapes.get(&input.name) {
            Some(given) => input.fitted(given),
            None => input.closed(&known),
        };
        let bounded = dims.and_then(|dims| {
            if element_count(&dims).is_some_and(|count| count <= MAX_ELEMENTS) && dims.len() <= crate::ir::MAX_RANK {
                return Ok(dims);
            }
            Err(unsupported(format!(
                "input of shape {dims:?}; at most {MAX_ELEMENTS} elements and {} axes are supported",
                crate::ir::MAX_RANK
            )))
        });
        match bounded {
            Ok(dims) => all.push(dims),
            Err(problem) => findings.push(problem.about(&input.name)),
        }
    }
    all
}

/// The batch that all inputs are fixed to, where it is above 1: they have at least two axes and the same first extent.
pub(super) fn fixed_batch(dims: &[Vec<usize>]) -> Option<usize> {
    let batch = *dims.first()?.first()?;
    let same = dims.iter().all(|dims| dims.len() >= 2 && dims[0] == batch);
    (batch > 1 && same).then_some(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(name: &str, extents: &[Extent]) -> Input {
        Input { name: name.into(), kind: DataType::Float, extents: Some(extents.to_vec()) }
    }

    fn named(name: &str) -> Extent {
        Extent::Named(name.into())
    }

    fn resolved(inputs: &[Input], shapes: &[(&str, &[usize])]) -> Result<Vec<Vec<usize>>, Vec<Finding>> {
        let shapes = shapes.iter().map(|(name, dims)| ((*name).to_owned(), dims.to_vec())).collect();
        let mut findings = Vec::new();
        let dims = resolve(inputs, &shapes, &mut findings);
        if findings.is_empty() { Ok(dims) } else { Err(findings) }
    }

    #[test]
    fn the_first_open_extent_is_the_batch() {
        let inputs = [input("x", &[named("N"), Extent::Fixed(3)]), input("s", &[Extent::Fixed(2), named("N")])];
        assert_eq!(resolved(&inputs, &[]).unwrap(), [vec![1, 3], vec![2, 1]]);
        assert_eq!(resolved(&inputs, &[("x", &[4, 3])]).unwrap(), [vec![4, 3], vec![2, 4]]);
    }

    #[test]
    fn other_open_extents_have_to_be_given() {
        let inputs = [input("x", &[Extent::Open, Extent::Fixed(3), named("H"), Extent::Open])];
        let findings = resolved(&inputs, &[]).unwrap_err();
        assert_eq!(findings[0].advice.as_deref(), Some("give the numbers: --shape x=1,3,H,?"));
        assert_eq!(resolved(&inputs, &[("x", &[1, 3, 8, 9])]).unwrap(), [vec![1, 3, 8, 9]]);
        assert!(resolved(&inputs, &[("x", &[1, 4, 8, 9])]).is_err());
        assert!(resolved(&inputs, &[("z", &[1, 3, 8, 9])]).is_err());
    }

    #[test]
    fn a_batch_is_one_that_all_inputs_share() {
        assert_eq!(fixed_batch(&[vec![4, 3], vec![4, 1]]), Some(4));
        assert_eq!(fixed_batch(&[vec![1, 3]]), None);
        assert_eq!(fixed_batch(&[vec![4, 3], vec![2, 3]]), None);
        assert_eq!(fixed_batch(&[vec![4]]), None);
    }
}
