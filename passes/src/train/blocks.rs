//! The blocks of a network: what lies between two tensors that all of it passes through.

use super::network::{Kind, Network};

impl Network {
    /// The last tensor of each block but those of the outputs, in order: nothing behind it reads what lies before it, and a layer with weights
    /// lies between it and the next.
    pub(crate) fn block_ends(&self) -> Vec<usize> {
        let used = || self.steps.iter().enumerate().filter(|(_, step)| step.used);
        let mut last_use = vec![0; self.steps.len()];
        for (node, step) in used() {
            step.inputs.iter().for_each(|&input| last_use[input] = node);
        }
        let mut ends: Vec<usize> = Vec::new();
        // The last reader of what lies before the node, and whether a layer stands behind the last end.
        let (mut open, mut layer) = (0, false);
        let last = self.ends.iter().copied().max().unwrap_or_default();
        for (node, step) in used().take_while(|(node, _)| *node < last) {
            layer |= matches!(step.kind, Kind::Product(_));
            if open <= node && (layer || !ends.is_empty()) {
                if !layer {
                    ends.pop();
                }
                ends.push(node);
                layer = false;
            }
            open = open.max(last_use[node]);
        }
        // What follows the last layer without another one is the outputs' own.
        let follows = |end: &usize| {
            !self.ends.contains(end) && used().any(|(node, step)| node > *end && matches!(step.kind, Kind::Product(_)))
        };
        ends.retain(follows);
        ends
    }
}
