//! The same network on machines of other sizes.

use crate::failure::Failure;
use releqc_runtime::accel::config::ENOUGH_BANKS;
use releqc_runtime::accel::cost::{CostModel, program_cost, transistors};
use releqc_runtime::accel::lower;
use releqc_runtime::accel::step::Sections;
use releqc_runtime::format::Artifact;
use serde::Serialize;

/// Machines that a sweep simulates at most.
const MOST_POINTS: usize = 1000;

/// One machine.
#[derive(Serialize)]
pub(super) struct Point {
    /// The sizes that vary.
    pub(super) machine: String,
    /// Elements times lanes of all tiles.
    pub(super) elements: u64,
    /// Of the elements, corrections and requantizers.
    pub(super) transistors: f64,
    pub(super) cycles: u64,
    pub(super) energy_pj: f64,
    /// No other machine has no more of cycles, energy and transistors, and fewer of one.
    pub(super) pareto: bool,
}

/// A size and its values, of `rows=8,16`.
fn axis(word: &str) -> Result<(&str, Vec<u32>), Failure> {
    let wrong = || Failure::input(format!("--sweep {word}: SIZE=N,N,.. is required"));
    let (name, values) = word.split_once('=').ok_or_else(wrong)?;
    let values: Result<Vec<u32>, _> = values.split(',').map(str::parse).collect();
    Ok((name, values.map_err(|_| wrong())?))
}

fn set(model: &mut CostModel, name: &str, value: u32) -> Result<(), Failure> {
    let config = &mut model.config;
    *match name {
        "tiles" => &mut config.tiles,
        "rows" => &mut config.rows,
        "columns" => &mut config.columns,
        "lanes" => &mut config.lanes,
        "weight_bytes" => &mut config.weight_sram_bytes,
        "activation_bytes" => &mut config.activation_sram_bytes,
        "requantizers" => &mut config.requantizers,
        "weight_banks" => &mut config.weight_banks,
        "activation_banks" => &mut config.activation_banks,
        "dram_bytes_per_cycle" => &mut config.dram_bytes_per_cycle,
        _ => {
            let names = "tiles, rows, columns, lanes, requantizers, weight_bytes, activation_bytes, weight_banks, \
                         activation_banks, dram_bytes_per_cycle";
            return Err(Failure::input(format!("--sweep {name}: one of {names} is required")));
        }
    } = value;
    Ok(())
}

/// Every combination of the sizes, in the order given.
pub(super) fn sweep(words: &[String], artifact: &Artifact, model: &CostModel) -> Result<Vec<Point>, Failure> {
    let axes: Vec<(&str, Vec<u32>)> = words.iter().map(|word| axis(word)).collect::<Result<_, _>>()?;
    let count = axes.iter().try_fold(1usize, |count, (_, values)| count.checked_mul(values.len()));
    if count.is_none_or(|count| count > MOST_POINTS) {
        return Err(Failure::input(format!("--sweep: at most {MOST_POINTS} machines are simulated")));
    }
    let mut all = *model;
    // The banks of one machine are few for a larger one: those that are not swept never bind.
    let swept = |name: &str| axes.iter().any(|(axis, _)| *axis == name);
    if !swept("weight_banks") {
        all.config.weight_banks = ENOUGH_BANKS;
    }
    if !swept("activation_banks") {
        all.config.activation_banks = ENOUGH_BANKS;
    }
    let mut machines = vec![(String::new(), all)];
    for (name, values) in &axes {
        let mut next = Vec::new();
        for (text, machine) in &machines {
            for value in values {
                let mut machine = *machine;
                set(&mut machine, name, *value)?;
                next.push((format!("{text}{}{name}={value}", if text.is_empty() { "" } else { " " }), machine));
            }
        }
        machines = next;
    }
    let sections =
        Sections { weights: artifact.weights_section().len(), constants: artifact.constants_section().len() };
    let mut points = Vec::new();
    for (machine, model) in machines {
        let refused = |error| Failure::input(format!("--sweep {machine}: {error}"));
        let program = lower::program(artifact.program(), &model.config).map_err(refused)?;
        let cost = program_cost(&program, sections, artifact.program(), &model).map_err(refused)?;
        let config = &model.config;
        let elements = [config.tiles, config.rows, config.columns, config.lanes].map(u64::from).into_iter().product();
        let (cycles, energy_pj) = (cost.cycles.0, cost.energy.total().0);
        points.push(Point { machine, elements, transistors: transistors(config), cycles, energy_pj, pareto: false });
    }
    let beats = |a: &Point, b: &Point| {
        let no_more = a.cycles <= b.cycles && a.energy_pj <= b.energy_pj && a.transistors <= b.transistors;
        no_more && (a.cycles < b.cycles || a.energy_pj < b.energy_pj || a.transistors < b.transistors)
    };
    let best: Vec<bool> = points.iter().map(|point| !points.iter().any(|other| beats(other, point))).collect();
    points.iter_mut().zip(best).for_each(|(point, best)| point.pareto = best);
    Ok(points)
}
