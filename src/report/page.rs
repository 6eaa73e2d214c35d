//! The report as one self-contained page: facts first, then the template beside this file.

use super::plot::{Colour, Dot, Line, Plot};
use super::{Table, grouped, summary};
use minijinja::{Environment, Value};
use releqc_passes::compile::{
    AcceleratorStep, CompileReport, EvaluationReport, LayerExplanation, LayerReport, LossOf, Metric, SearchReport,
    WidthCost,
};
use serde::Serialize;

const TEMPLATE: &str = include_str!("page.html");

const REWARD: Colour = Colour([136, 136, 136]);
const BEST: Colour = Colour([47, 126, 216]);
const FRONT: Colour = Colour([136, 136, 136]);
const CHOSEN: Colour = Colour([214, 51, 108]);
/// Methods with their colours.
const METHODS: [(&str, Colour); 6] = [
    ("agent", Colour([47, 126, 216])),
    ("careful", Colour([23, 162, 162])),
    ("uniform", Colour([217, 130, 43])),
    ("sensitivity", Colour([142, 91, 208])),
    ("programme", Colour([46, 158, 91])),
    ("random", Colour([166, 124, 82])),
];
/// Points at which a cell of the heat map has its full colour.
const HOT: f64 = 5.0;
const STRONGEST: f64 = 0.75;

/// What a page is made of.
pub(crate) struct Facts<'a> {
    pub(crate) report: &'a CompileReport,
    pub(crate) warnings: &'a [String],
    /// Sections of the artifact with their bytes.
    pub(crate) sections: Vec<(String, usize)>,
    /// What made the artifact.
    pub(crate) command: String,
}

#[derive(Serialize)]
struct Page {
    title: String,
    cards: Vec<Card>,
    notes: Vec<String>,
    before_after: Vec<Vec<(String, bool)>>,
    sizes: Vec<Share>,
    layers: Vec<LayerRow>,
    search: Option<Search>,
    timeline: Vec<StepRow>,
    command: String,
}

#[derive(Serialize)]
struct Card {
    label: &'static str,
    value: String,
    note: String,
    bad: bool,
}

/// A value, and a bar beside it.
#[derive(Serialize)]
struct Share {
    name: String,
    text: String,
    percent: Option<f64>,
}

#[derive(Serialize)]
struct LayerRow {
    name: String,
    op: String,
    values: Vec<Share>,
}

#[derive(Serialize)]
struct Search {
    key: Vec<Key>,
    front_plot: String,
    reward_plot: String,
    entropy_plot: String,
    reward_colour: String,
    best_colour: String,
    spent: String,
    methods: Vec<Vec<(String, bool)>>,
    pareto: Vec<Vec<(String, bool)>>,
    finalists: Option<Vec<Vec<(String, bool)>>>,
    heat_widths: Vec<u8>,
    heat: Vec<HeatRow>,
}

#[derive(Serialize)]
struct Key {
    name: String,
    colour: String,
}

#[derive(Serialize)]
struct HeatRow {
    name: String,
    cells: Vec<HeatCell>,
}

#[derive(Serialize)]
struct HeatCell {
    text: String,
    /// `heat` where more is lost, `cool` where less.
    side: &'static str,
    alpha: String,
    measured: bool,
    chosen: bool,
}

#[derive(Serialize)]
struct StepRow {
    name: String,
    bits: String,
    cycles: String,
    baseline: String,
    /// Percent of all cycles.
    start: String,
    width: String,
}

/// The page; nothing in it refers to another file, and it is the same for the same facts.
///
/// # Errors
/// What the plotting library or the template says.
pub(crate) fn html(facts: &Facts<'_>) -> Result<String, String> {
    let mut environment = Environment::new();
    let failed = |error: minijinja::Error| format!("report: {error:#}");
    environment.add_template("page.html", TEMPLATE).map_err(failed)?;
    let page = Page::new(facts)?;
    let template = environment.get_template("page.html").map_err(failed)?;
    template.render(Value::from_serialize(&page)).map_err(failed)
}

impl Page {
    fn new(facts: &Facts<'_>) -> Result<Self, String> {
        let report = facts.report;
        let notes = report.assumptions.iter().map(|text| format!("Assumed: {text}."));
        let warnings = facts.warnings.iter().map(|text| format!("Warning: {text}."));
        Ok(Page {
            title: format!("{} at {:.2} bits", report.network, report.average_bits),
            cards: cards(report),
            notes: notes.chain(warnings).collect(),
            before_after: before_after(report),
            sizes: sizes(facts),
            layers: layers(&report.layers),
            search: report.search.as_ref().map(|search| Search::new(search, report)).transpose()?,
            timeline: timeline(&report.accelerator),
            command: facts.command.clone(),
        })
    }
}

fn cards(report: &CompileReport) -> Vec<Card> {
    let accuracy = &report.accuracy;
    let samples = format!("{} {} samples", grouped(accuracy.samples as u64), accuracy.split);
    let (label, value) = match accuracy.metric {
        metric @ (Metric::Top1 | Metric::Top5) => (metric.name(), format!("{:.2} %", 100.0 * accuracy.quantized)),
        metric @ (Metric::Mse | Metric::Mae) => (metric.name(), format!("{:.4}", accuracy.quantized)),
        Metric::Agreement => ("agreement with float", format!("{:.2} %", 100.0 * accuracy.quantized)),
        Metric::Snr => ("signal over noise", format!("{:.1} dB", accuracy.quantized)),
    };
    let size = &report.size;
    let share = summary::percent_of(size.artifact, size.float_weights);
    let mut cards = vec![
        card("average bits", format!("{:.2}", report.average_bits), format!("{} layers", report.layers.len())),
        card(label, value, samples),
        card("size", bytes(size.artifact), format!("{share} of the weights as f32")),
        card("accelerator", format!("{:.2} x", report.accelerator_speedup), "as fast as at 8 bit".into()),
        card("energy", format!("{:.2} x", report.accelerator_energy_ratio), "less than at 8 bit".into()),
    ];
    if accuracy.metric != Metric::Snr {
        let goal = report.max_loss.map_or("no goal".into(), |limit| format!("goal: at most {limit}"));
        let of = if accuracy.loss_of == LossOf::Unlearned { ", by the unlearned copy" } else { "" };
        let (label, value) = match accuracy.metric.is_error() {
            true => ("error added", format!("{:.4}", accuracy.loss_points)),
            false => ("points lost", format!("{:.2}", accuracy.loss_points)),
        };
        let mut lost = card(label, value, format!("{goal}{of}"));
        lost.bad = report.goal_missed;
        cards.insert(2, lost);
    }
    if let Some(search) = &report.search {
        let note = format!("{} episodes, seed {}", grouped(search.episodes as u64), report.seed);
        cards.push(card("evaluations", grouped(search.evaluations as u64), note));
    }
    cards
}

fn card(label: &'static str, value: String, note: String) -> Card {
    Card { label, value, note, bad: false }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

fn before_after(report: &CompileReport) -> Vec<Vec<(String, bool)>> {
    let row = |cells: [String; 3]| cells.into_iter().enumerate().map(|(i, cell)| (cell, i > 0)).collect();
    let accuracy = &report.accuracy;
    let share = |value: f64| format!("{:.2} %", 100.0 * value);
    let weights: u64 = report.layers.iter().map(|layer| layer.weights).sum();
    let mut rows = vec![row([String::new(), "float".into(), "artifact".into()])];
    match accuracy.metric {
        metric @ (Metric::Top1 | Metric::Top5) => {
            rows.push(row([metric.name().into(), share(accuracy.float), share(accuracy.quantized)]));
        }
        metric @ (Metric::Mse | Metric::Mae) => {
            let error = |value: f64| format!("{value:.4}");
            rows.push(row([metric.name().into(), error(accuracy.float), error(accuracy.quantized)]));
        }
        Metric::Agreement => {
            rows.push(row(["agreement".into(), share(accuracy.float), share(accuracy.quantized)]));
        }
        Metric::Snr => {
            rows.push(row(["signal over noise".into(), "-".into(), format!("{:.1} dB", accuracy.quantized)]));
        }
    }
    if let Some(copy) = &accuracy.unlearned {
        let what = "top-1 of a copy that has unlearned the samples".into();
        rows.push(row([what, share(copy.float), share(copy.quantized)]));
    }
    rows.push(row(["bits a weight".into(), "32".into(), format!("{:.2}", report.average_bits)]));
    rows.push(row(["weights".into(), grouped(weights), grouped(weights)]));
    let sizes = [report.size.float_weights, report.size.weights].map(grouped);
    rows.push(row(["bytes of weights".into(), sizes[0].clone(), sizes[1].clone()]));
    let cycles = |of: fn(&AcceleratorStep) -> u64| grouped(report.accelerator.iter().map(of).sum());
    let baseline = format!("{} at 8 bit", cycles(|step| step.cycles_8bit));
    rows.push(row(["cycles of the accelerator".into(), baseline, cycles(|step| step.cycles)]));
    rows
}

fn sizes(facts: &Facts<'_>) -> Vec<Share> {
    let total: usize = facts.sections.iter().map(|(_, bytes)| bytes).sum();
    let mut rows: Vec<Share> = facts
        .sections
        .iter()
        .map(|(name, bytes)| Share {
            name: name.clone(),
            text: grouped(*bytes as u64),
            percent: Some(percent(*bytes as f64, total as f64)),
        })
        .collect();
    let rest = facts.report.size.artifact.saturating_sub(total as u64);
    let text = grouped(rest);
    rows.push(Share {
        name: "header, padding".into(),
        text,
        percent: Some(percent(rest as f64, facts.report.size.artifact as f64)),
    });
    rows
}

fn layers(layers: &[LayerReport]) -> Vec<LayerRow> {
    let most = |of: fn(&LayerReport) -> f64| layers.iter().map(of).fold(0.0, f64::max);
    let (sensitivity, macs) = (most(|layer| layer.sensitivity), most(|layer| layer.macs as f64));
    let packed = most(|layer| layer.bytes as f64);
    let value = |text: String, percent: Option<f64>| Share { name: String::new(), text, percent };
    let row = |layer: &LayerReport| LayerRow {
        name: layer.name.clone(),
        op: match layer.activation_bits {
            8 => layer.op.into(),
            bits => format!("{} of {bits}-bit codes", layer.op),
        },
        values: vec![
            value(layer.bits.to_string(), Some(percent(layer.bits.into(), 8.0))),
            value(format!("{:.2}", layer.sensitivity), Some(percent(layer.sensitivity, sensitivity))),
            value(grouped(layer.weights), None),
            value(grouped(layer.macs), Some(percent(layer.macs as f64, macs))),
            value(grouped(layer.bytes), Some(percent(layer.bytes as f64, packed))),
        ],
    };
    layers.iter().map(row).collect()
}

/// 0..=100 with one decimal.
fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { (1000.0 * part / whole).round().clamp(0.0, 1000.0) / 10.0 } else { 0.0 }
}

fn timeline(steps: &[AcceleratorStep]) -> Vec<StepRow> {
    let total = steps.iter().map(|step| step.cycles).sum::<u64>() as f64;
    let mut before = 0;
    let mut rows = Vec::new();
    for step in steps.iter().filter(|step| step.cycles > 0) {
        rows.push(StepRow {
            name: step.name.clone(),
            bits: step.bits.map_or_else(String::new, |bits| bits.to_string()),
            cycles: grouped(step.cycles),
            baseline: grouped(step.cycles_8bit),
            start: format!("{:.2}", 100.0 * before as f64 / total),
            width: format!("{:.2}", 100.0 * step.cycles as f64 / total),
        });
        before += step.cycles;
    }
    rows
}

fn cells(table: &Table) -> Vec<Vec<(String, bool)>> {
    table.cells().map(|row| row.into_iter().map(|(cell, right)| (cell.to_owned(), right)).collect()).collect()
}

fn colour(method: &str) -> Colour {
    METHODS.iter().find(|(name, _)| *name == method).map_or(REWARD, |(_, colour)| *colour)
}

impl Search {
    fn new(search: &SearchReport, report: &CompileReport) -> Result<Self, String> {
        let chosen: Vec<u8> = report.layers.iter().map(|layer| layer.bits).collect();
        let mut names: Vec<&str> = Vec::new();
        for entry in &search.history {
            if !names.contains(&entry.method.as_str()) {
                names.push(&entry.method);
            }
        }
        let key = |name: &&str| Key {
            name: match *name {
                "careful" => "agent, with the goal as limit".into(),
                name => name.to_owned(),
            },
            colour: colour(name).to_string(),
        };
        let mut keys: Vec<Key> = names.iter().map(key).collect();
        keys.push(Key { name: "in the artifact".into(), colour: CHOSEN.to_string() });
        Ok(Search {
            key: keys,
            front_plot: front(search, &chosen).svg()?,
            reward_plot: rewards(search).svg()?,
            entropy_plot: entropy(search).svg()?,
            reward_colour: REWARD.to_string(),
            best_colour: BEST.to_string(),
            spent: summary::spent_line(search),
            methods: cells(&summary::methods(search)),
            pareto: cells(&summary::pareto(search)),
            finalists: (!search.finalists.is_empty()).then(|| cells(&summary::finalists(search))),
            heat_widths: search.explanation.first().map_or(Vec::new(), |l| l.widths.iter().map(|w| w.bits).collect()),
            heat: search.explanation.iter().zip(&chosen).map(|(layer, bits)| heat(layer, *bits)).collect(),
        })
    }
}

fn heat(layer: &LayerExplanation, chosen: u8) -> HeatRow {
    let cell = |cost: &WidthCost| HeatCell {
        text: format!("{:.2}", cost.loss),
        side: if cost.loss > 0.0 { "heat" } else { "cool" },
        alpha: format!("{:.2}", (cost.loss.abs() / HOT).min(1.0).sqrt() * STRONGEST),
        measured: cost.measured,
        chosen: cost.bits == chosen,
    };
    HeatRow { name: layer.name.clone(), cells: layer.widths.iter().map(cell).collect() }
}

fn joined(widths: &[u8]) -> String {
    widths.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
}

fn front(search: &SearchReport, chosen: &[u8]) -> Plot<'static> {
    let dot = |entry: &EvaluationReport| {
        let is_chosen = entry.widths == chosen;
        Dot {
            at: (entry.average_bits, entry.loss),
            colour: if is_chosen { CHOSEN } else { colour(&entry.method) },
            title: format!(
                "{}: {} at {:.2} bits ({})",
                entry.method,
                summary::allowed(search, entry.loss),
                entry.average_bits,
                joined(&entry.widths)
            ),
            marked: is_chosen,
        }
    };
    let mut dots: Vec<Dot> = search.history.iter().map(dot).collect();
    // What is marked lies on top.
    dots.sort_by_key(|dot| dot.marked);
    let mut points: Vec<(f64, f64)> = Vec::new();
    let mut entries: Vec<&EvaluationReport> = search.history.iter().collect();
    entries.sort_by(|a, b| a.average_bits.total_cmp(&b.average_bits).then(a.loss.total_cmp(&b.loss)));
    for entry in entries {
        if points.last().is_none_or(|(_, loss)| entry.loss < *loss) {
            points.push((entry.average_bits, entry.loss));
        }
    }
    Plot { x: "average bits", y: summary::lost(search), lines: vec![Line { points, colour: FRONT }], dots }
}

fn rewards(search: &SearchReport) -> Plot<'static> {
    let agent = search.history.iter().filter(|entry| entry.method == "agent");
    let mut best = f64::NEG_INFINITY;
    let mut line = Vec::new();
    let mut dots = Vec::new();
    for (at, entry) in agent.enumerate() {
        best = best.max(entry.reward);
        line.push(((at + 1) as f64, best));
        let title = format!("evaluation {}: reward {:.3} ({})", at + 1, entry.reward, joined(&entry.widths));
        dots.push(Dot { at: ((at + 1) as f64, entry.reward), colour: REWARD, title, marked: false });
    }
    Plot { x: "evaluation of the agent", y: "reward", lines: vec![Line { points: line, colour: BEST }], dots }
}

fn entropy(search: &SearchReport) -> Plot<'static> {
    let agent = search.history.iter().filter(|entry| entry.method == "agent").enumerate();
    let points: Vec<(f64, f64)> = agent.filter_map(|(at, entry)| Some(((at + 1) as f64, entry.entropy?))).collect();
    let lines = if points.is_empty() { vec![] } else { vec![Line { points, colour: BEST }] };
    Plot { x: "evaluation of the agent", y: "nats a layer", lines, dots: vec![] }
}
