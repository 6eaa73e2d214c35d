//! How many bits the codes of each tensor have.
//!
//! Takes a folded canonical graph and what was asked for; returns the tensors of fewer than 8 bits. Chooses no range and edits
//! nothing.

use crate::activation::NarrowTensors;
use crate::domain::{Domain, domains, keeps_codes, needs_codes};
use crate::ir::{Graph, Node, NodeId, Op};
use releqc_runtime::BitWidth;
use std::collections::BTreeSet;
use thiserror::Error;

/// What is asked of the widths of tensors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActivationBits {
    /// Of every tensor that layers read, but for inputs of the network and for what its last layers read; `None` for 8.
    pub all: Option<BitWidth>,
    /// Of tensors by the name of the node that computes them; these come first.
    pub named: Vec<(String, BitWidth)>,
}

/// Why a tensor cannot have the width that was asked for.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ActivationBitsError {
    /// No node has the name.
    #[error("no tensor {name:?}; those with codes of their own are {}", known.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// Those that could have been named.
        known: Vec<String>,
    },
    /// Its values are never codes.
    #[error("{name:?} stays floats, or nobody reads its codes; a tensor that becomes codes is required")]
    Floats {
        /// The name.
        name: String,
    },
    /// Its codes are those of another tensor.
    #[error("{name:?} moves codes of {source_name:?}; that name is required, and the width holds for both")]
    Moves {
        /// The name.
        name: String,
        /// Where the codes come from.
        source_name: String,
    },
    /// Its codes are part of the artifact.
    #[error("{name:?} is a constant, which has 8 bits; a tensor that is computed is required")]
    Constant {
        /// The name.
        name: String,
    },
}

impl ActivationBits {
    /// Whether every tensor has 8 bits.
    pub fn is_default(&self) -> bool {
        self.all.is_none_or(|bits| bits == BitWidth::MAX) && self.named.iter().all(|(_, bits)| *bits == BitWidth::MAX)
    }

    /// The tensors of `folded` that have fewer than 8 bits.
    ///
    /// # Errors
    /// A name that stands for no tensor with codes of its own.
    pub fn of(&self, folded: &Graph) -> Result<NarrowTensors, ActivationBitsError> {
        let tensors = Tensors::of(folded);
        let mut widths = NarrowTensors::new();
        if let Some(bits) = self.all {
            widths.extend(tensors.read_by_inner_layers().into_iter().map(|id| (id, bits)));
        }
        for (name, bits) in &self.named {
            widths.insert(tensors.named(name)?, *bits);
        }
        widths.retain(|_, bits| *bits != BitWidth::MAX);
        Ok(widths)
    }
}

/// The tensors of a graph.
struct Tensors<'g> {
    graph: &'g Graph,
    domains: Vec<Domain>,
}

impl<'g> Tensors<'g> {
    fn of(graph: &'g Graph) -> Self {
        Tensors { graph, domains: domains(graph, &BTreeSet::new()) }
    }

    /// Where the codes of a node come from.
    fn source(&self, id: NodeId) -> NodeId {
        let node = self.graph.node(id);
        match keeps_codes(node) && self.domains[id.0] == Domain::Codes {
            true => self.source(node.inputs[0]),
            false => id,
        }
    }

    /// Whether a node computes codes, or floats that somebody reads as codes.
    fn has_own_codes(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let reads = |user: &Node| user.inputs.contains(&id) && needs_codes(user);
        let becomes_codes = self.domains[id.0] == Domain::Codes || self.graph.nodes.iter().any(reads);
        becomes_codes && self.source(id) == id && !matches!(node.op, Op::Constant(_))
    }

    fn named(&self, name: &str) -> Result<NodeId, ActivationBitsError> {
        let found = self.graph.iter().find(|(_, node)| node.name == name);
        let Some((id, node)) = found else {
            let own = self.graph.iter().filter(|(id, _)| self.has_own_codes(*id));
            let known = own.map(|(_, node)| node.name.clone()).collect();
            return Err(ActivationBitsError::Unknown { name: name.into(), known });
        };
        let source = self.source(id);
        if source != id {
            let source_name = self.graph.node(source).name.clone();
            return Err(ActivationBitsError::Moves { name: name.into(), source_name });
        }
        if matches!(node.op, Op::Constant(_)) {
            return Err(ActivationBitsError::Constant { name: name.into() });
        }
        if !self.has_own_codes(id) {
            return Err(ActivationBitsError::Floats { name: name.into() });
        }
        Ok(id)
    }

    /// What layers read, without inputs of the network and without what is read by layers that no other layer comes after.
    fn read_by_inner_layers(&self) -> BTreeSet<NodeId> {
        let mut before_layer = vec![false; self.graph.nodes.len()];
        for (id, node) in self.graph.iter().collect::<Vec<_>>().into_iter().rev() {
            if node.owns_weights() || before_layer[id.0] {
                node.inputs.iter().for_each(|input| before_layer[input.0] = true);
            }
        }
        let layers = self.graph.iter().filter(|(_, node)| node.owns_weights());
        let (inner, last): (Vec<_>, Vec<_>) = layers.partition(|(id, _)| before_layer[id.0]);
        let sources = |layers: Vec<(NodeId, &Node)>| -> BTreeSet<NodeId> {
            layers.into_iter().map(|(_, node)| self.source(node.inputs[0])).collect()
        };
        let (mut narrow, wide) = (sources(inner), sources(last));
        narrow.retain(|id| !wide.contains(id) && !self.graph.node(*id).is_input() && self.has_own_codes(*id));
        narrow
    }
}
