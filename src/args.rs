//! The flags: names and meanings are the contract of docs/cli.md.

mod budgets;
mod interchange;
mod sharing;
mod values;
mod words;

pub(crate) use budgets::Budgets;
pub(crate) use interchange::{Compare, Completions, Diff, Export, ExportFormat, Man};
pub(crate) use sharing::{Sharing, TrainIsa, Worker};
pub(crate) use values::{ActionSet, Bits, NamedRange, NamedShape, TensorBits};

use crate::failure::Failure;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use interchange::parse_export;
use releqc_passes::compile::Metric;
use releqc_passes::data::{Geometry, Preprocessing, Resize};
use releqc_passes::import::ImportOptions;
use releqc_runtime::SessionOptions;
use releqc_runtime::isa::{Features, Isa};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
use values::{
    parse_action_set, parse_activation_bits, parse_bits, parse_count, parse_duration, parse_points, parse_range,
    parse_shape, parse_threads,
};

const EXAMPLES: &str = "releqc MODEL.onnx -o MODEL.rq is short for releqc compile MODEL.onnx -o MODEL.rq

Examples:
  releqc check net.onnx                                     is it supported?
  releqc net.onnx -o net.rq --bits 8 --input-range 0:1      8 bits everywhere, no data needed
  releqc net.onnx -o net.rq --data pictures/ --mean 0.5 --std 0.5 --report net.html
  releqc run net.rq --input x.npy --output y.npy
  releqc compare net.onnx net.rq --input x.npy              where does the accuracy go?
  releqc export net.rq -o net.qdq.onnx                      for onnxruntime or OpenVINO

releqc --version --verbose also names the instruction sets of this machine.";

/// Compiles trained ONNX networks to mixed low precision, and runs the result.
#[derive(Debug, Parser)]
#[command(name = "releqc", version, arg_required_else_help = true)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What networks are judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MetricName {
    /// Share of right classes, or of agreement with the float network where there are no labels
    Top1,
    /// Share of labels among the five largest values
    Top5,
    /// Signal-to-noise ratio against the float network
    Snr,
    /// Mean squared error against labels of numbers
    Mse,
    /// Mean absolute error against labels of numbers
    Mae,
}

impl MetricName {
    /// What it is called inside.
    pub(crate) fn metric(self) -> Metric {
        match self {
            MetricName::Top1 => Metric::Top1,
            MetricName::Top5 => Metric::Top5,
            MetricName::Snr => Metric::Snr,
            MetricName::Mse => Metric::Mse,
            MetricName::Mae => Metric::Mae,
        }
    }
}

/// Flags of every command.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Common {
    /// Print one JSON object on stdout; logs and progress go to stderr
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print errors and asked-for results only: no notes, no progress, no summary
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
    /// Number of threads; results do not depend on it [default: all cores; bench: 1]
    #[arg(long, global = true, value_name = "N", value_parser = parse_threads)]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Compile a network (the default command): import, calibrate, search, quantize, lower, verify, write
    Compile(Box<Compile>),
    /// Say what of a network is supported and what is not, before any work
    Check(Check),
    /// Show layers, widths, sizes and hashes of an artifact
    Inspect(Inspect),
    /// Run an artifact on the rows of a .npy file
    Run(Run),
    /// Measure the accuracy of an artifact on the test part of labelled data
    Eval(Eval),
    /// Measure latency from f32 input to f32 output on random input
    Bench(Bench),
    /// Cycles and energy on the accelerator, per layer, against 8 bit
    Sim(Sim),
    /// Print the CPU plan and the accelerator program as text
    Disasm(Disasm),
    /// Write an artifact as C99 for microcontrollers: one source and one header that need nothing else
    EmitC(EmitC),
    /// Write an artifact as an ONNX network for other engines: QDQ or QONNX
    Export(Export),
    /// Signal-to-noise ratio of every tensor, float network against artifact, worst first
    Compare(Compare),
    /// Say what differs between two artifacts
    Diff(Diff),
    /// Evaluate for searches that run elsewhere with the same --store, until told to end
    Worker(Worker),
    /// Print the completions of a shell
    Completions(Completions),
    /// Write manual pages
    Man(Man),
}

#[derive(Debug, Args)]
pub(crate) struct Compile {
    /// Trained float network
    #[arg(value_name = "MODEL.onnx")]
    pub(crate) model: PathBuf,
    /// Artifact to write; its folder must exist
    #[arg(short, long, value_name = "MODEL.rq")]
    pub(crate) output: PathBuf,
    /// Data, labelled or not: a folder with IDX or CIFAR-10 binary files or pictures, an .npz or .npy file, or NAME=X.npy for each input; without
    /// it inputs are synthesised
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Vec<OsString>,
    #[command(flatten)]
    pub(crate) import: Import,
    #[command(flatten)]
    pub(crate) pixels: Pixels,
    /// Smallest and largest value of the inputs, or of the input NAME; may be given for each
    #[arg(long, value_name = "[NAME=]LO:HI", allow_hyphen_values = true, value_parser = parse_range)]
    pub(crate) input_range: Vec<NamedRange>,
    /// Fixed widths, one for all layers or one per weight layer in ONNX node order: no search
    #[arg(long, value_name = "B|B,B,..", value_parser = parse_bits)]
    pub(crate) bits: Option<Bits>,
    /// Widths of the codes of tensors, 2 to 8: one for all that layers read but inputs of the network and what its last layers read, and
    /// NAME=B for single ones [default: 8]
    #[arg(long, value_name = "B|NAME=B,..", value_parser = parse_activation_bits)]
    pub(crate) activation_bits: Option<TensorBits>,
    /// Retraining of the chosen widths [default: full after a search, none with --bits]
    #[arg(long, value_enum)]
    pub(crate) retrain: Option<Retrain>,
    /// How weights become codes where nothing is retrained: so that the results of their layer come close to those of floats, or each to
    /// the nearest [default: results]
    #[arg(long, value_enum)]
    pub(crate) rounding: Option<Rounding>,
    /// By what the network is judged [default: top1 where one output is a vector of classes and the labels are class indices, else snr]
    #[arg(long, value_enum)]
    pub(crate) metric: Option<MetricName>,
    /// What may be lost: points of top1 or top5, or what mse or mae may grow by [default: 0.3 points in a search on labelled data without
    /// a budget, else no goal]
    #[arg(long, value_name = "LOSS", value_parser = parse_points)]
    pub(crate) max_loss: Option<f64>,
    #[command(flatten)]
    pub(crate) budgets: Budgets,
    /// Signal-to-noise ratio in dB against the float network that a search keeps, and that layers read 16 bits for where 8 do not reach
    /// it [default: 30 where the output is no vector of classes]
    #[arg(long, value_name = "DB", value_parser = parse_points)]
    pub(crate) min_snr: Option<f64>,
    /// Widths the search may choose from [default: 2-8]
    #[arg(long, value_name = "2-8", value_parser = parse_action_set)]
    pub(crate) widths: Option<ActionSet>,
    /// Evaluations the search may make [default: what the network's size affords]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) episodes: Option<usize>,
    /// End the search after this time with its best result so far, such as 90s, 10m or 1h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) time_budget: Option<Duration>,
    /// Give each method of the comparison this time, in place of equal numbers of evaluations; its choice is confirmed too
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) method_time: Option<Duration>,
    /// What proposes choices to the agent: its policy, or uniform draws, which say what the policy is worth [default: policy]
    #[arg(long, value_enum)]
    pub(crate) proposals: Option<Proposals>,
    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Use the evaluations that an earlier search for the same output has kept
    #[arg(long)]
    pub(crate) resume: bool,
    #[command(flatten)]
    pub(crate) sharing: Sharing,
    #[command(flatten)]
    pub(crate) train_isa: TrainIsa,
    /// What the reward counts as quantization cost [default: mean]
    #[arg(long, value_enum)]
    pub(crate) cost: Option<Cost>,
    #[command(flatten)]
    pub(crate) machine: MachineFlag,
    /// Reward of the agent: knows --max-loss, or the paper's shaped one [default: constrained]
    #[arg(long, value_enum)]
    pub(crate) reward: Option<Reward>,
    /// Also write the retrained, annotated float network; compiling that file again gives the same artifact
    #[arg(long, value_name = "FILE.onnx")]
    pub(crate) annotated: Option<PathBuf>,
    /// Also write the artifact as an ONNX network for other engines; may be given for each format
    #[arg(long, value_name = "qdq|qonnx=FILE.onnx", value_parser = parse_export)]
    pub(crate) export: Vec<(ExportFormat, PathBuf)>,
    /// Also write a report as one self-contained page
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,
    /// Also write a line of JSON for every evaluation of the search, as it comes
    #[arg(long, value_name = "FILE")]
    pub(crate) json_lines: Option<PathBuf>,
    /// Also write the text of every stage into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) emit: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Trained float network
    #[arg(value_name = "MODEL.onnx")]
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) import: Import,
}

/// How a model is read.
#[derive(Clone, Debug, Args)]
pub(crate) struct Import {
    /// Extents of an input that the file leaves open, the batch included; may be given for each input
    #[arg(long, value_name = "NAME=1,3,..", value_parser = parse_shape)]
    pub(crate) shape: Vec<NamedShape>,
    /// Compile up to this value, or this node's first output, in place of the file's outputs; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) cut: Vec<String>,
}

impl Import {
    pub(crate) fn options(&self) -> ImportOptions {
        ImportOptions { shapes: self.shape.iter().cloned().collect(), cut: self.cut.clone() }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Compiled artifact
    #[arg(value_name = "MODEL.rq")]
    pub(crate) artifact: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Compiled artifact
    #[arg(value_name = "MODEL.rq")]
    pub(crate) artifact: PathBuf,
    /// Array [N, C, H, W], or what the network's input says; once for each input, in order or by name
    #[arg(long, value_name = "[NAME=]X.npy", required = true)]
    pub(crate) input: Vec<OsString>,
    /// File for the first output, one row a row of the input; further outputs go to Y.NAME.npy beside it
    #[arg(long, value_name = "Y.npy")]
    pub(crate) output: Option<PathBuf>,
    /// What computes; all give the same bytes
    #[arg(long, value_enum, default_value_t = Executor::Cpu)]
    pub(crate) executor: Executor,
    #[command(flatten)]
    pub(crate) isa: IsaFlag,
}

#[derive(Debug, Args)]
pub(crate) struct Eval {
    /// Compiled artifact
    #[arg(value_name = "MODEL.rq")]
    pub(crate) artifact: PathBuf,
    /// Labelled data; its test part is used, else its validation part
    #[arg(long, value_name = "PATH")]
    pub(crate) data: PathBuf,
    /// What is measured; mse and mae need labels of numbers [default: top1]
    #[arg(long, value_enum)]
    pub(crate) metric: Option<MetricName>,
    #[command(flatten)]
    pub(crate) pixels: Pixels,
    #[command(flatten)]
    pub(crate) isa: IsaFlag,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Compiled artifact
    #[arg(value_name = "MODEL.rq")]
    pub(crate) artifact: PathBuf,
    /// Print only the median, in microseconds
    #[arg(long)]
    pub(crate) median: bool,
    #[command(flatten)]
    pub(crate) isa: IsaFlag,
}

#[derive(Debug, Args)]
pub(crate) struct Sim {
    /// Compiled artifact
    #[arg(value_name = "MODEL.rq", required_unless_present = "program")]
    pub(crate) artifact: Option<PathBuf>,
    /// A program by hand instead: assembly text with its weights and constants
    #[arg(long, value_name = "FILE.s", conflicts_with_all = ["artifact", "input", "csv", "trace", "vectors", "sweep"])]
    pub(crate) program: Option<PathBuf>,
    /// What the host memory of that program begins with
    #[arg(long, value_name = "X.npy", requires = "program")]
    pub(crate) memory: Option<PathBuf>,
    /// Also run the program on the rows of this array; once for each input, in order or by name
    #[arg(long, value_name = "[NAME=]X.npy")]
    pub(crate) input: Vec<OsString>,
    /// File for the first output of that run; for a program by hand its host memory, and beside it the other memories
    #[arg(long, value_name = "Y.npy")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) machine: MachineFlag,
    /// Also write a line for each layer
    #[arg(long, value_name = "FILE.csv")]
    pub(crate) csv: Option<PathBuf>,
    /// Also write when each instruction ran, for Perfetto or chrome://tracing: a microsecond is a cycle
    #[arg(long, value_name = "FILE.json")]
    pub(crate) trace: Option<PathBuf>,
    /// Also write what a test bench of the hardware replays: the first row of the input through the program
    #[arg(long, value_name = "DIR", requires = "input")]
    pub(crate) vectors: Option<PathBuf>,
    /// Sizes to vary, such as rows=8,16,32: each combination is lowered and simulated
    #[arg(long, value_name = "SIZE=N,..", num_args = 1..)]
    pub(crate) sweep: Vec<String>,
}

/// The accelerator.
#[derive(Clone, Debug, Args)]
pub(crate) struct MachineFlag {
    /// Accelerator: default, edge, large, or a description in TOML [default: default; sim: that of the artifact]
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) machine: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Disasm {
    /// Compiled artifact
    #[arg(value_name = "MODEL.rq")]
    pub(crate) artifact: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct EmitC {
    /// Compiled artifact
    #[arg(value_name = "MODEL.rq")]
    pub(crate) artifact: PathBuf,
    /// Folder for NAME.c and NAME.h; made where only its own name is new
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// What functions and files are called [default: the artifact's file name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// How stored pixels become inputs.
#[derive(Clone, Debug, Args)]
pub(crate) struct Pixels {
    /// Pixels are scaled to 0..1, then the mean is subtracted: one value, or one a channel
    #[arg(long, value_name = "M[,M,M]", value_delimiter = ',', allow_hyphen_values = true, requires = "std")]
    mean: Option<Vec<f32>>,
    /// .. and the result divided by the standard deviation: one value, or one a channel
    #[arg(long, value_name = "S[,S,S]", value_delimiter = ',', requires = "mean")]
    std: Option<Vec<f32>>,
    /// Pixels stay 0..255
    #[arg(long, conflicts_with_all = ["mean", "std"])]
    raw_pixels: bool,
    /// Pictures are resized first: their shorter side to N pixels, or to H rows and W columns
    #[arg(long, value_name = "N|HxW")]
    resize: Option<Resize>,
    /// .. and their middle is cut out
    #[arg(long, value_name = "N|HxW")]
    crop: Option<Resize>,
}

impl Pixels {
    /// What the flags state of the size of pictures, if anything.
    pub(crate) fn geometry(&self) -> Option<Geometry> {
        let crop = self.crop.map(|crop| match crop {
            Resize::Shorter(side) => (side, side),
            Resize::Exact(rows, columns) => (rows, columns),
        });
        let geometry = Geometry { resize: self.resize, crop };
        (!geometry.is_none()).then_some(geometry)
    }

    /// What the flags state of the values of pixels, if anything.
    pub(crate) fn stated(&self) -> Result<Option<Preprocessing>, Failure> {
        if self.raw_pixels {
            return Ok(Some(Preprocessing::Raw));
        }
        let (Some(mean), Some(std)) = (&self.mean, &self.std) else { return Ok(None) };
        for (flag, values) in [("--mean", mean), ("--std", std)] {
            if let Some(bad) = values.iter().find(|v| !v.is_finite() || (flag == "--std" && **v <= 0.0)) {
                let required = if flag == "--std" { "finite numbers > 0 are" } else { "finite numbers are" };
                return Err(Failure::input(format!("{flag}: {bad}; {required} required")));
            }
        }
        Ok(Some(Preprocessing::Normalize { mean: mean.clone(), std: std.clone() }))
    }
}

/// Instruction set of the CPU executor.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct IsaFlag {
    /// Instruction set: scalar, avx2, avx2-vnni, avx512, avx512-vnni or amx [default: the best of this machine]
    #[arg(long, value_name = "ISA")]
    pub(crate) isa: Option<Isa>,
    /// CPU features not to use, gfni or vbmi: as on a machine that lacks them
    #[arg(long, value_name = "F[,F]")]
    pub(crate) without: Option<Features>,
}

impl IsaFlag {
    /// A session of it, on one thread.
    pub(crate) fn options(self) -> SessionOptions {
        SessionOptions { isa: self.isa, without: self.without.unwrap_or_default(), ..SessionOptions::default() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Executor {
    /// Kernels of this machine
    Cpu,
    /// The specification, slow
    Reference,
    /// The simulated accelerator
    Accelerator,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rounding {
    Results,
    Nearest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Retrain {
    /// Codes by post-training rounding only
    None,
    /// Codes, scales and biases fitted to the float network without labels
    Reconstruct,
    /// The run that an evaluation of the search gets
    Short,
    /// The long run
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cost {
    /// Plain mean of the widths, as in the paper's tables and its released code
    Mean,
    /// Weights (weighed with memory energy) and multiply-accumulates, times bits
    Paper,
    /// Latency of the CPU kernels, measured on this machine
    Cpu,
    /// Cycles of the accelerator
    Accelerator,
    /// Energy of the accelerator
    Energy,
    /// Bytes of packed weights
    Size,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reward {
    /// Inside the limit the cheaper the better, outside worse with every point
    Constrained,
    /// The paper's
    Paper,
}

/// What proposes choices to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Proposals {
    /// The policy, which learns
    Policy,
    /// Draws from all choices alike
    Uniform,
}

/// What the words of the command line ask for.
pub(crate) enum Parsed {
    /// Help or the version.
    Text(String),
    /// The version, and what this machine has.
    VerboseVersion,
    /// A command.
    Cli(Box<Cli>),
}

/// Parses the words of the command line, the first being the program's name.
pub(crate) fn parse(words: Vec<OsString>) -> Result<Parsed, Failure> {
    let version = |word: &OsString| word == "--version" || word == "-V";
    if words.len() == 3 && words[1..].iter().any(version) && words[1..].iter().any(|word| word == "--verbose") {
        return Ok(Parsed::VerboseVersion);
    }
    match Cli::try_parse_from(words::with_default_command(words)?) {
        Ok(cli) => Ok(Parsed::Cli(Box::new(cli))),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Parsed::Text(error.to_string()))
        }
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand
            ) =>
        {
            Err(Failure::input("a model or a command is required; see releqc --help"))
        }
        Err(error) => {
            let text = error.to_string();
            let mut parts = text.split("\n\n");
            let first = parts.next().unwrap_or_default().trim_start_matches("error: ");
            let tip = parts.find_map(|part| part.trim().strip_prefix("tip: ").filter(|tip| tip.contains("similar")));
            Err(Failure::input(tip.map_or_else(|| first.to_owned(), |tip| format!("{first}; {tip}"))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn words(line: &str) -> Vec<OsString> {
        std::iter::once("releqc").chain(line.split_whitespace()).map(OsString::from).collect()
    }

    fn cli(line: &str) -> Result<Cli, String> {
        match parse(words(line)) {
            Ok(Parsed::Cli(cli)) => Ok(*cli),
            Ok(Parsed::Text(text)) => Err(text),
            Ok(Parsed::VerboseVersion) => Err("version".into()),
            Err(failure) => Err(format!("{failure:?}")),
        }
    }

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_model_alone_means_compile() {
        for line in
            ["m.onnx -o m.rq", "--json --threads 2 m.onnx -o m.rq", "-o m.rq m.onnx", "--bits 4 m.onnx -o m.rq --quiet"]
        {
            let Command::Compile(compile) = cli(line).unwrap().command else { panic!("{line}") };
            assert_eq!(compile.model, PathBuf::from("m.onnx"), "{line}");
        }
        assert!(matches!(cli("--json inspect m.rq").unwrap().command, Command::Inspect(_)));
        assert!(cli("--help").unwrap_err().contains("Usage: releqc"));
    }

    #[test]
    fn mean_and_std_belong_together() {
        assert!(cli("m.onnx -o m.rq --mean 0.5").is_err());
        assert!(cli("m.onnx -o m.rq --raw-pixels --mean 0.5 --std 1").is_err());
        let Command::Compile(compile) = cli("m.onnx -o m.rq --mean -0.5,0,0.5 --std 1").unwrap().command else {
            panic!()
        };
        let stated = compile.pixels.stated().unwrap();
        assert_eq!(stated, Some(Preprocessing::Normalize { mean: vec![-0.5, 0.0, 0.5], std: vec![1.0] }));
        let Command::Compile(compile) = cli("m.onnx -o m.rq --mean 0 --std 0").unwrap().command else { panic!() };
        assert!(compile.pixels.stated().is_err());
    }
}
