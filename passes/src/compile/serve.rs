//! A worker: it prepares a network as a search does, and answers the questions of searches that other processes make.

use super::environment::RetrainingEnvironment;
use super::key::key;
use super::limits::Limits;
use super::prepare::{Prepared, prepare};
use super::run::Run;
use super::search::recipes;
use super::task::Task;
use super::unlearn::Unlearned;
use super::yardstick::{Goal, Yardstick};
use super::{CompileError, Hooks, Labelled, Sharing, metadata};
use crate::post_training::Memo;
use crate::search::board::Board;
use crate::search::shift::{Shift, work_off};
use crate::search::{Answer, Answers, Environment, EvaluationStore, Question, SearchError};
use crate::train::Trainer;
use std::cell::RefCell;

/// Answers the questions of `task`, which is the one of `model` and `data` that the folder knows as `name`, until `shift` ends.
///
/// # Errors
/// As [`compile`](super::compile()); [`CompileError::Option`] where this process would answer something else than the search asks for.
pub fn serve(
    model: &[u8],
    data: Option<&Labelled>,
    task: &Task,
    name: &str,
    sharing: &Sharing,
    hooks: &mut Hooks<'_>,
    shift: &mut Shift<'_>,
) -> Result<(), CompileError> {
    let store = EvaluationStore::open(&sharing.folder)?;
    let mut board = Board::open(&sharing.folder, &sharing.owner, sharing.lease)?;
    board.enter(name)?;
    // From here on the search waits for this worker, which gets ready.
    let present = board.attend()?;
    let options = task.options();
    let Prepared { calibrated, material, judge, options, preprocessing, .. } = prepare(model, data, &options, hooks)?;
    let recipes = recipes(&calibrated, &material, &judge, &options)?;
    let recipes = recipes.as_ref();
    let rounding = material.rounding(options.rounding);
    let answers = RefCell::new(Answers::alone(store));
    let pace = Default::default();
    let unlearned = match recipes {
        Some(recipes) if task.is_unlearned() => {
            Unlearned::of(&calibrated, &material, &judge, recipes, rounding, &options, &pace, &answers, hooks)?
        }
        _ => None,
    };
    let (judged, judge) = unlearned.as_ref().map_or((&calibrated, &judge), |copy| (&copy.calibrated, &copy.judge));
    let short = recipes.map(|recipes| &recipes.short);
    let evaluations = key(judged, &material, short, rounding, &judge.terms(), options.seed)?;
    if evaluations != task.key {
        return Err(CompileError::Option(format!(
            "task {name}: this process would answer other questions than are asked: the data, or what the program computes, are not the same"
        )));
    }
    let samples = &material.calibration(&judged.folded);
    let memo = Memo::new(judged, samples, rounding);
    let limits = Limits::new(&calibrated, metadata(&calibrated, preprocessing.as_ref(), &options), &options);
    let yardstick = Yardstick {
        calibrated: judged,
        material: &material,
        memo: &memo,
        rounding,
        judge,
        limits: &limits,
        options: &options,
        asked: task.options().retrain,
        goal: Goal::of(&options, judge.unit())?,
        recipes,
        pace: &pace,
        runs_after: 0,
        answers: &answers,
    };
    let trainer = match short {
        Some(short) => Some(Trainer::new(judged, material.training(), short.clone(), options.seed)?),
        None => None,
    };
    let mut runs = Vec::new();
    for recipe in recipes.into_iter().flat_map(|recipes| [&recipes.short, &recipes.full]) {
        for network in [judged, &calibrated] {
            runs.push(Run::new(network, &material, recipe, rounding, options.seed)?);
        }
    }
    let hooks = RefCell::new(hooks);
    let mut environment = RetrainingEnvironment::new(&yardstick, trainer.as_ref(), &hooks);
    let layers = calibrated.folded.weight_layers().len();
    let mut compute = |question: &Question| -> Result<Option<Answer>, SearchError> {
        let Some(widths) = question.widths().filter(|widths| widths.len() == layers) else { return Ok(None) };
        match question {
            Question::Evaluation { key, .. } if *key == evaluations => {
                environment.evaluate(&widths).map(|found| Some(Answer::Evaluation(found)))
            }
            Question::Run { key, .. } => match runs.iter().find(|run| run.key() == key) {
                Some(run) => {
                    run.parameters(&widths, &mut hooks.borrow_mut()).map(|found| Some(Answer::Parameters(found)))
                }
                None => Ok(None),
            },
            _ => Ok(None),
        }
    };
    let mut store = EvaluationStore::open(&sharing.folder)?;
    let done = work_off(&board, &mut store, &mut compute, shift);
    drop(present);
    Ok(done?)
}
