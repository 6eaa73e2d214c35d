//! `releqc compare`: the float network against its artifact, tensor by tensor.

use super::Context;
use crate::args::Compare;
use crate::artifact;
use crate::failure::{Failure, Outcome};
use crate::input;
use crate::report::{Align, Table};
use crate::rows::Rows;
use releqc_passes::compare::{Compared, compare};
use releqc_passes::data::{self, Geometry, Preprocessing, Reading};
use releqc_passes::import::{self, ErrorKind};
use releqc_passes::rewrite::{canonicalize, fold_batch_norm};
use releqc_runtime::format::Artifact;
use serde::Serialize;

#[derive(Serialize)]
struct Report {
    samples: usize,
    /// Worst first.
    tensors: Vec<Tensor>,
    /// Tensors of the artifact without a counterpart of that name.
    unmatched: usize,
}

#[derive(Serialize)]
struct Tensor {
    name: String,
    op: &'static str,
    bits: Option<u8>,
    scale: Option<f32>,
    values: usize,
    /// `null` where nothing differs.
    snr_db: Option<f64>,
    largest_error: f64,
    saturated: Option<f64>,
    channel_factors: bool,
}

pub(super) fn execute(args: &Compare, context: &Context) -> Result<Outcome, Failure> {
    let model = input::model(&args.model)?;
    let artifact = artifact::open(&args.artifact)?;
    let path = args.model.display();
    let imported = import::import(&model, &args.import.options()).map_err(|error| match error.kind() {
        ErrorKind::Unsupported => Failure::unsupported(format!("{path}: {error}")),
        ErrorKind::Invalid => Failure::input(format!("{path}: {error}")),
        ErrorKind::Violation => Failure::defect(format!("{path}: {error}")),
    })?;
    let graph = canonicalize(imported).map_err(|error| Failure::defect(format!("{path}: {error}")))?;
    let graph = fold_batch_norm(&graph);
    let expected: usize = graph.inputs().map(|(_, node)| node.shape.len()).sum();
    let found = artifact.program().input_len();
    if expected != found {
        let what = format!("a sample has {expected} values; {} takes {found}", args.artifact.display());
        return Err(Failure::input(format!("{path}: {what}: it was compiled from another network, or other extents")));
    }
    let compared = match &args.data {
        Some(folder) => {
            let stated = args.pixels.stated()?;
            let metadata = artifact.metadata();
            let reading = Reading {
                inputs: artifact::inputs(&artifact),
                stated: stated.is_some(),
                preprocessing: stated.or_else(|| Preprocessing::recorded(metadata)),
                geometry: args.pixels.geometry().unwrap_or_else(|| Geometry::recorded(metadata)),
            };
            let (_, data) = data::load_for_evaluation(folder, &reading).map_err(Failure::input)?;
            run(&graph, &artifact, args.samples.min(data.len()), |i, out| data.read(i, out))?
        }
        None => {
            let rows = Rows::read(&args.input, artifact.program())?;
            run(&graph, &artifact, args.samples.min(rows.count), |i, out| rows.copy_to(i, out))?
        }
    };
    let report = Report::new(compared);
    context.console.result(&report, || report.text())?;
    Ok(Outcome::Done)
}

fn run(
    graph: &releqc_passes::ir::Graph,
    artifact: &Artifact,
    samples: usize,
    read: impl Fn(usize, &mut [f32]) + Sync,
) -> Result<Compared, Failure> {
    compare(graph, artifact, samples, read).map_err(Failure::defect)
}

impl Report {
    fn new(compared: Compared) -> Self {
        let tensor = |tensor: releqc_passes::compare::Comparison| Tensor {
            name: tensor.name,
            op: tensor.op,
            bits: tensor.bits,
            scale: tensor.scale,
            values: tensor.len,
            snr_db: tensor.snr_db.is_finite().then_some(tensor.snr_db),
            largest_error: tensor.largest_error,
            saturated: tensor.saturated,
            channel_factors: tensor.factors,
        };
        Report {
            samples: compared.samples,
            tensors: compared.tensors.into_iter().map(tensor).collect(),
            unmatched: compared.unmatched,
        }
    }

    fn text(&self) -> String {
        let mut table = Table::new(&[
            ("tensor", Align::Left),
            ("op", Align::Left),
            ("bits", Align::Right),
            ("SNR dB", Align::Right),
            ("largest error", Align::Right),
            ("scale", Align::Right),
            ("saturated", Align::Right),
            ("", Align::Left),
        ]);
        for tensor in &self.tensors {
            let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
            table.row([
                tensor.name.clone(),
                tensor.op.into(),
                or_dash(tensor.bits.map(|bits| bits.to_string())),
                tensor.snr_db.map_or_else(|| "equal".into(), |snr| format!("{snr:.1}")),
                format!("{:.3e}", tensor.largest_error),
                or_dash(tensor.scale.map(|scale| format!("{scale:.3e}"))),
                or_dash(tensor.saturated.map(|share| format!("{:.2} %", 100.0 * share))),
                if tensor.channel_factors { "channel factors" } else { "" }.into(),
            ]);
        }
        let unmatched = match self.unmatched {
            0 => String::new(),
            count => format!("; {count} tensors of the artifact have no counterpart of their name"),
        };
        format!("{table}\nfloat against integer on {} samples, worst first{unmatched}\n", self.samples)
    }
}
