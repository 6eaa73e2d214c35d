//! Validation samples taken from the training data.

use super::Dataset;
use crate::random::{Purpose, stream};
use rand::Rng;
use std::collections::BTreeMap;

impl Dataset {
    /// Splits off `fraction` (0..=1) of the samples of every class, rounded to whole samples: (what is left, what was
    /// taken). Both keep the order of the samples. Without labels all samples count as one class. The same seed gives the
    /// same split on every platform.
    pub fn split(&self, seed: u64, fraction: f64) -> (Dataset, Dataset) {
        let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for index in 0..self.len() {
            classes.entry(self.labels().map_or(0, |labels| labels[index])).or_default().push(index);
        }
        // Labels that hardly repeat are values, not classes: a part of every one of them would be none.
        if 2 * classes.len() > self.len() {
            classes = BTreeMap::from([(0, (0..self.len()).collect())]);
        }
        let mut rng = stream(seed, Purpose::Split);
        let mut taken = vec![false; self.len()];
        for indices in classes.values_mut() {
            let count = (indices.len() as f64 * fraction.clamp(0.0, 1.0)).round() as usize;
            // The first steps of a Fisher-Yates shuffle; the bias of the remainder is below 2^-32 for any real data set.
            for i in 0..count {
                let left = (indices.len() - i) as u64;
                let j = i + (rng.next_u64() % left) as usize;
                indices.swap(i, j);
                taken[indices[i]] = true;
            }
        }
        let pick = |wanted: bool| {
            let indices: Vec<usize> = (0..self.len()).filter(|&i| taken[i] == wanted).collect();
            self.select(&indices)
        };
        (pick(false), pick(true))
    }
}

#[cfg(test)]
mod tests {
    use crate::data::{Dataset, Samples};
    use crate::ir::Shape;

    fn numbered(labels: Vec<u32>) -> Dataset {
        let values = (0..labels.len()).map(|i| i as f32).collect();
        Dataset::new(Shape::vector(1), Samples::Values(values), Some(labels)).unwrap()
    }

    fn numbers(data: &Dataset) -> Vec<usize> {
        let read = |i| {
            let mut out = [0.0];
            data.read(i, &mut out);
            out[0] as usize
        };
        (0..data.len()).map(read).collect()
    }

    #[test]
    fn every_class_gives_its_share_and_no_sample_is_lost() {
        let data = numbered((0..100).map(|i| u32::from(i % 10 == 0)).collect());
        let (rest, taken) = data.split(7, 0.2);
        assert_eq!(taken.labels().unwrap().iter().filter(|&&l| l == 1).count(), 2);
        assert_eq!(taken.len(), 20);
        let mut all = [numbers(&rest), numbers(&taken)].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert!(numbers(&taken).is_sorted());
    }

    #[test]
    fn the_seed_alone_decides() {
        let data = numbered((0..50).map(|i| i % 3).collect());
        let taken = |seed| numbers(&data.split(seed, 0.3).1);
        assert_eq!(taken(1), taken(1));
        assert_ne!(taken(1), taken(2));
        // Pins the stream of the generator: another platform or release must give the same split.
        assert_eq!(taken(0)[..4], [0, 10, 11, 14]);
    }
}
