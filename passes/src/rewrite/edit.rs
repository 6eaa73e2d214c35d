//! Removing nodes from a graph.

use crate::ir::{Graph, Node, NodeId};

/// Nodes to leave out, each replaced by an earlier one.
pub(super) struct Removal {
    replaced_by: Vec<Option<NodeId>>,
}

impl Removal {
    pub(super) fn of(graph: &Graph) -> Self {
        Removal { replaced_by: vec![None; graph.nodes.len()] }
    }

    /// Readers of `node` read `by` from now on; `by` precedes `node`.
    pub(super) fn replace(&mut self, node: NodeId, by: NodeId) {
        debug_assert!(by < node, "a replacement precedes what it replaces");
        self.replaced_by[node.0] = Some(by);
    }

    /// The node that stands for `id`.
    pub(super) fn resolve(&self, mut id: NodeId) -> NodeId {
        while let Some(by) = self.replaced_by[id.0] {
            id = by;
        }
        id
    }

    /// The graph without the replaced nodes; the others keep their order.
    pub(super) fn apply(self, graph: Graph) -> Graph {
        let mut new_ids = Vec::with_capacity(graph.nodes.len());
        let mut kept = 0;
        for replaced in &self.replaced_by {
            new_ids.push(NodeId(kept));
            kept += usize::from(replaced.is_none());
        }
        let renumber = |id: NodeId| new_ids[self.resolve(id).0];
        let Graph { name, nodes, outputs } = graph;
        let nodes =
            nodes.into_iter().enumerate().filter(|(i, _)| self.replaced_by[*i].is_none()).map(|(_, mut node)| {
                node.inputs = node.inputs.iter().map(|&input| renumber(input)).collect();
                node
            });
        let nodes = nodes.collect();
        let outputs = outputs.iter().map(|(name, id)| (name.clone(), renumber(*id))).collect();
        Graph { name, nodes, outputs }
    }
}

/// The only reader of `id`, where there is exactly one and `id` is no output.
pub(super) fn sole_user(graph: &Graph, users: &[Vec<NodeId>], id: NodeId) -> Option<NodeId> {
    let is_output = graph.outputs.iter().any(|(_, output)| *output == id);
    match users[id.0][..] {
        [user] if !is_output => Some(user),
        _ => None,
    }
}

/// The graph without nodes from which no output can be reached. Inputs stay: they are part of a sample.
pub(super) fn without_unread(graph: &Graph) -> Graph {
    let mut read = vec![false; graph.nodes.len()];
    for (_, output) in &graph.outputs {
        read[output.0] = true;
    }
    for index in (0..graph.nodes.len()).rev() {
        if read[index] {
            graph.nodes[index].inputs.iter().for_each(|input| read[input.0] = true);
        }
    }
    let mut rebuild = Rebuild::of(graph);
    for (id, node) in graph.iter() {
        if read[id.0] || node.is_input() {
            rebuild.keep(id);
        }
    }
    rebuild.finish()
}

/// A graph put together anew from the nodes of another one, in order; nodes may be left out, replaced and inserted.
pub(super) struct Rebuild<'a> {
    graph: &'a Graph,
    nodes: Vec<Node>,
    /// Where each node of the old graph stands in the new one; `None` for those left out.
    places: Vec<Option<NodeId>>,
}

impl<'a> Rebuild<'a> {
    pub(super) fn of(graph: &'a Graph) -> Self {
        Rebuild { graph, nodes: Vec::with_capacity(graph.nodes.len()), places: vec![None; graph.nodes.len()] }
    }

    /// The node as it is.
    pub(super) fn keep(&mut self, id: NodeId) {
        self.replace(id, self.graph.node(id).clone());
    }

    /// Another node in its place; its inputs are nodes of the old graph.
    pub(super) fn replace(&mut self, id: NodeId, node: Node) {
        let place = self.insert(node);
        self.places[id.0] = Some(place);
    }

    /// Another node in its place that reads one that was inserted.
    pub(super) fn replace_inserted(&mut self, id: NodeId, node: Node, inserted: NodeId) {
        self.nodes.push(Node { inputs: vec![inserted], ..node });
        self.places[id.0] = Some(NodeId(self.nodes.len() - 1));
    }

    /// A node more, whose inputs are nodes of the old graph; its place in the new one.
    pub(super) fn insert(&mut self, mut node: Node) -> NodeId {
        for input in &mut node.inputs {
            *input = self.place(*input);
        }
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    fn place(&self, id: NodeId) -> NodeId {
        let place = self.places[id.0];
        debug_assert!(place.is_some(), "what is read is kept");
        place.unwrap_or(NodeId(0))
    }

    pub(super) fn finish(self) -> Graph {
        let outputs = self.graph.outputs.iter().map(|(name, id)| (name.clone(), self.place(*id))).collect();
        Graph { name: self.graph.name.clone(), nodes: self.nodes, outputs }
    }
}
