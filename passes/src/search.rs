//! The search for one weight width per layer: a reinforcement learning agent after ReLeQ (arXiv 1811.01704), helped by a model of
//! everything it has paid for. Decides widths; trains and edits nothing: accuracy comes from an [`environment::Environment`].

pub mod acquire;
pub mod agent;
pub mod baselines;
pub mod constraint;
pub mod cost;
pub mod environment;
pub mod ledger;
pub mod pareto;
pub mod policy;
pub mod ppo;
pub mod prior;
pub mod programme;
mod random;
pub mod refine;
pub mod reward;
pub mod state;
pub mod store;
pub mod surrogate;
#[cfg(test)]
mod tests;

pub use agent::{Ingredients, Progress, SearchOptions, SearchResult, search};
pub use baselines::Baseline;
pub use constraint::Constraint;
pub use cost::CostModel;
pub use environment::{Environment, Evaluation, LayerFacts, SearchError};
pub use ledger::Evaluated;
pub use prior::SensitivityProfile;
pub use reward::Reward;
pub use store::{EvaluationStore, Stored, store_key};
