//! The search for one weight width per layer: a reinforcement learning agent after ReLeQ (arXiv 1811.01704), helped by a model of
//! everything it has paid for. Decides widths; trains and edits nothing: accuracy comes from an [`environment::Environment`].

pub mod acquire;
pub mod agent;
pub mod answers;
pub mod baselines;
pub mod board;
pub mod constraint;
pub mod cost;
pub mod environment;
mod files;
mod heart;
pub mod ledger;
pub mod pareto;
pub mod policy;
pub mod ppo;
pub mod prior;
pub mod programme;
pub mod question;
mod random;
pub mod refine;
pub mod reward;
pub mod shift;
pub mod state;
pub mod store;
pub mod surrogate;
#[cfg(test)]
mod tests;

pub use agent::{Ingredients, Progress, SearchOptions, SearchResult, search};
pub use answers::{Answers, Patience, Stored};
pub use baselines::Baseline;
pub use constraint::Constraint;
pub use cost::CostModel;
pub use environment::{Environment, Evaluation, LayerFacts, SearchError};
pub use ledger::Evaluated;
pub use prior::SensitivityProfile;
pub use question::{Question, store_key};
pub use reward::Reward;
pub use store::{Answer, EvaluationStore};
