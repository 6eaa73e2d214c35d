//! How a network is retrained: every constant with its source.

/// How weights become codes while training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum WeightMethod {
    /// One learned step an output channel (LSQ, Esser et al. 2020), started at the step of least squared error.
    LearnedSteps,
    /// One fixed step a layer, its largest weight over the largest code (WRPN, Mishra et al. 2018, without its clip to
    /// -1..1, which trained networks do not need).
    Wrpn,
    /// As `Wrpn` after `tanh(w) / max |tanh|` (DoReFa-Net, Zhou et al. 2016, with a zero level).
    DoReFa,
}

/// What moves the weights.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Optimizer {
    /// Stochastic gradient descent with Nesterov momentum.
    Sgd {
        /// Share of the velocity that stays.
        momentum: f32,
    },
    /// Adam with beta 0.9 and 0.999, epsilon 1e-8 (Kingma and Ba 2015), decoupled weight decay.
    Adam,
}

/// Where batch normalisation takes its statistics from while training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum NormStatistics {
    /// From each batch; measured anew over [`Recipe::norm_batches`] batches after the last step.
    Batch,
    /// From the imported network, unchanged.
    Frozen,
}

/// Seeded random changes of training images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Augmentation {
    /// Largest shift in rows and columns; the border repeats the outermost pixels.
    pub shift: usize,
    /// Whether images of three channels are mirrored left to right half of the time.
    pub flip: bool,
}

impl Augmentation {
    /// Images as they are.
    pub const NONE: Augmentation = Augmentation { shift: 0, flip: false };
}

/// When a weight that swings between two codes is held (Nagel et al. 2022, arXiv 2203.11086): once the moving average of its turns exceeds
/// a limit, which falls along half a cosine.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Oscillation {
    /// Share of the newest update in the moving averages of turns and codes.
    pub momentum: f32,
    /// Turns an update that are borne at the start.
    pub from: f32,
    /// The same at the end.
    pub to: f32,
}

/// What the outputs of a network are brought near to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Comparison {
    /// Labels, and the classes of the float network: of one output.
    #[default]
    Classes,
    /// The values of the float network: the mean over the outputs of the square error in parts of the power, `sum (z - y)^2 / sum y^2`
    /// over a batch. Labels are not looked at.
    Values,
}

/// Everything about a training run that is not the network, the data, the widths or the seed.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Recipe {
    /// Updates of the weights.
    pub steps: usize,
    /// Samples of an update.
    pub batch: usize,
    /// What moves the weights.
    pub optimizer: Optimizer,
    /// Learning rate at the start; falls to 0 along half a cosine (Loshchilov and Hutter 2017).
    pub learning_rate: f32,
    /// What outputs are compared with.
    #[serde(default)]
    pub compares: Comparison,
    /// Steps over which the learning rate rises to its start value.
    pub warmup: usize,
    /// Largest norm of a gradient relative to that of its parameter (adaptive gradient clipping, Brock et al. 2021, here for whole tensors).
    /// Without it a network whose inputs are raw pixels (0..255) diverges in its first updates, and one without batch normalisation at
    /// rates that others need.
    pub largest_gradient: f32,
    /// Decay of weights (not of biases, normalisation and steps).
    pub weight_decay: f32,
    /// Share of the distillation in the loss where there are labels; 0 leaves the float network out.
    pub distillation: f32,
    /// Temperature of both softmaxes of the distillation (Hinton et al. 2015).
    pub temperature: f32,
    /// Random changes of the images.
    pub augmentation: Augmentation,
    /// Source of normalisation statistics.
    pub norm: NormStatistics,
    /// Batches over which statistics are measured at the end.
    pub norm_batches: usize,
    /// How weights become codes.
    pub method: WeightMethod,
    /// Whether the steps of 8-bit tensors are learned too, or stay as calibrated.
    pub learn_activation_steps: bool,
    /// When weights that swing between two codes are held; `None` lets them swing.
    pub oscillation: Option<Oscillation>,
}

impl Recipe {
    /// A hundred updates: what a search affords for one evaluation. Half the batch at the same rate costs half the time and the
    /// 8-bit network more than it can spare (ResNet-20: 91.28 % against 92.12).
    pub fn short() -> Self {
        Recipe { learning_rate: 0.01, ..Recipe::full(100) }
    }

    /// The long run of the chosen widths. The constants are those of the retraining study in the project's design notes
    /// (ResNet-20 on CIFAR-10: SGD Nesterov 0.02, T = 2, distillation 0.9, batch 128).
    pub fn full(steps: usize) -> Self {
        Recipe {
            steps,
            batch: 128,
            optimizer: Optimizer::Sgd { momentum: 0.9 },
            learning_rate: 0.02,
            compares: Comparison::Classes,
            warmup: steps / 50,
            largest_gradient: 0.05,
            weight_decay: 1e-4,
            distillation: 0.9,
            temperature: 2.0,
            augmentation: Augmentation { shift: 4, flip: true },
            norm: NormStatistics::Batch,
            norm_batches: 16,
            method: WeightMethod::LearnedSteps,
            learn_activation_steps: false,
            oscillation: None,
        }
    }

    /// Training of a float network from random weights with labels.
    pub fn float(steps: usize) -> Self {
        Recipe {
            learning_rate: 0.05,
            weight_decay: 5e-4,
            distillation: 0.0,
            largest_gradient: f32::INFINITY,
            ..Recipe::full(steps)
        }
    }

    /// Further training of a float network until it has forgotten samples that it no longer sees: with labels alone, at a rate as high as
    /// training from random weights bears.
    pub fn unlearning(steps: usize) -> Self {
        Recipe { learning_rate: 0.2, warmup: steps / 20, weight_decay: 5e-4, distillation: 0.0, ..Recipe::full(steps) }
    }

    /// Turns an update that a weight may make before it is held.
    pub(crate) fn turns_borne_at(&self, oscillation: Oscillation, step: usize) -> f32 {
        let Oscillation { from, to, .. } = oscillation;
        let progress = step as f32 / self.steps.max(1) as f32;
        to + (from - to) * 0.5 * (1.0 + (std::f32::consts::PI * progress).cos())
    }

    /// Learning rate of an update.
    pub(crate) fn learning_rate_at(&self, step: usize) -> f32 {
        if step < self.warmup {
            return self.learning_rate * (step + 1) as f32 / self.warmup as f32;
        }
        let progress = (step - self.warmup) as f32 / (self.steps - self.warmup).max(1) as f32;
        self.learning_rate * 0.5 * (1.0 + (std::f32::consts::PI * progress).cos())
    }
}
