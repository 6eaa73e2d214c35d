//! What is believed of a layer's sensitivity before it was evaluated.

use releqc_runtime::BitWidth;

use super::environment::{Problem, SearchError};

/// Cheap per-layer measurements: only one layer quantized at a time, no retraining.
#[derive(Clone, Debug, PartialEq)]
pub struct SensitivityProfile {
    /// `drops[layer][i]`: accuracy lost, in points, with this layer alone at the i-th width of the action set.
    pub drops: Vec<Vec<f64>>,
}

/// Every layer's expected damage at every width, in arbitrary units: only ratios matter, the surrogate learns the scale.
///
/// Without measurements the damage of a layer is taken as the power of uniform quantization noise, which falls by 4 with
/// every bit, times `weights^-1/4`: small layers have less redundancy (first and last layers are the small ones in most
/// networks, and the layers that published mixed-precision results keep wide). With a profile the measured drops, made
/// monotone and lifted by a share of that noise law, so that no layer counts as free for having been lucky.
#[derive(Clone, Debug)]
pub struct DamagePrior {
    /// `[layer][action]`, above 0, not increasing with the width; scaled so that the mean over layers at the smallest
    /// width is 1.
    pub damage: Vec<Vec<f64>>,
    /// Whether measurements stand behind it.
    pub measured: bool,
}

/// Share of the noise law that is mixed into measured drops.
const FLOOR_SHARE: f64 = 0.1;

/// Exponent of the number of weights in the prior without measurements.
const REDUNDANCY_EXPONENT: f64 = -0.25;

impl DamagePrior {
    /// The prior for `problem`, from `profile` if there is one.
    ///
    /// # Errors
    /// [`SearchError::Invalid`] when the profile does not have one finite drop per layer and width.
    pub fn new(problem: &Problem, profile: Option<&SensitivityProfile>) -> Result<Self, SearchError> {
        let generic: Vec<Vec<f64>> = problem
            .layers
            .iter()
            .map(|layer| {
                let redundancy = (layer.weights.max(1) as f64).powf(REDUNDANCY_EXPONENT);
                problem.widths.iter().map(|width| redundancy * noise_power(*width, problem.widths[0])).collect()
            })
            .collect();
        let Some(profile) = profile else {
            return Ok(DamagePrior { damage: scaled(generic), measured: false });
        };
        let mut measured = monotone(problem, profile)?;
        let mean_drop = measured.iter().map(|row| row[0]).sum::<f64>() / problem.depth() as f64;
        let floor = scaled(generic);
        for (row, floor) in measured.iter_mut().zip(&floor) {
            for (drop, floor) in row.iter_mut().zip(floor) {
                *drop += FLOOR_SHARE * mean_drop.max(1e-3) * floor;
            }
        }
        Ok(DamagePrior { damage: scaled(measured), measured: true })
    }

    /// Exactly these damages, made monotone.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn exactly(problem: &Problem, damages: &SensitivityProfile) -> Result<Self, SearchError> {
        Ok(DamagePrior { damage: scaled(monotone(problem, damages)?), measured: true })
    }

    /// All layers alike: the prior of a search that is told nothing.
    pub fn flat(problem: &Problem) -> Self {
        let row: Vec<f64> = problem.widths.iter().map(|width| noise_power(*width, problem.widths[0])).collect();
        DamagePrior { damage: vec![row; problem.depth()], measured: false }
    }

    /// Damage of a choice: the sum over layers.
    pub fn total(&self, actions: &[usize]) -> f64 {
        actions.iter().zip(&self.damage).map(|(&action, row)| row[action]).sum()
    }

    /// Damage of a layer at the smallest width over the largest of any layer, 0..=1: the agent's feature.
    pub fn sensitivity(&self, layer: usize) -> f64 {
        let most = self.damage.iter().map(|row| row[0]).fold(f64::MIN_POSITIVE, f64::max);
        self.damage[layer][0] / most
    }
}

/// The drops of a profile, none below 0 or below that of a wider width.
fn monotone(problem: &Problem, profile: &SensitivityProfile) -> Result<Vec<Vec<f64>>, SearchError> {
    let fits = profile.drops.len() == problem.depth()
        && profile.drops.iter().all(|row| row.len() == problem.widths.len() && row.iter().all(|d| d.is_finite()));
    if !fits {
        return Err(SearchError::invalid(
            "sensitivity profile",
            format!("{} rows", profile.drops.len()),
            format!("needs {} finite drops for each of {} layers", problem.widths.len(), problem.depth()),
        ));
    }
    let mut drops = profile.drops.clone();
    for row in &mut drops {
        let mut least = 0.0f64;
        for drop in row.iter_mut().rev() {
            least = least.max(*drop);
            *drop = least;
        }
    }
    Ok(drops)
}

fn scaled(mut damage: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let mean = damage.iter().map(|row| row[0]).sum::<f64>() / damage.len().max(1) as f64;
    damage.iter_mut().flatten().for_each(|d| *d /= mean.max(f64::MIN_POSITIVE));
    damage
}

/// Power of uniform quantization noise at `width` over that at `least`: a quarter for every bit.
fn noise_power(width: BitWidth, least: BitWidth) -> f64 {
    0.25f64.powi(i32::from(width.bits()) - i32::from(least.bits()))
}
