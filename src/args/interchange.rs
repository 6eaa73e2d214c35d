//! Flags of commands that hand artifacts to other tools, or set two networks side by side.

use super::Pixels;
use clap::{Args, ValueEnum};
use releqc_passes::export::Format;
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  releqc export lenet.rq -o lenet.qdq.onnx
  releqc export lenet.rq -o lenet.qdq.onnx --int4
  releqc export lenet.rq -o lenet.qonnx.onnx --format qonnx")]
pub(crate) struct Export {
    /// Compiled artifact
    #[arg(value_name = "MODEL.rq")]
    pub(crate) artifact: PathBuf,
    /// ONNX file to write; its folder must exist
    #[arg(short, long, value_name = "FILE.onnx")]
    pub(crate) output: PathBuf,
    /// Form of the network
    #[arg(long, value_enum, default_value_t = ExportFormat::Qdq)]
    pub(crate) format: ExportFormat,
    /// Store weights of at most 4 bits as INT4, half the size; with qdq
    #[arg(long)]
    pub(crate) int4: bool,
}

/// Form of an exported network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// QuantizeLinear and DequantizeLinear around float operators: onnxruntime, OpenVINO
    Qdq,
    /// Quant nodes with the widths of the artifact: qonnx, FINN, hls4ml
    Qonnx,
}

impl ExportFormat {
    pub(crate) fn format(self) -> Format {
        match self {
            ExportFormat::Qdq => Format::Qdq,
            ExportFormat::Qonnx => Format::Qonnx,
        }
    }
}

/// `qdq=FILE` or `qonnx=FILE`.
pub(super) fn parse_export(text: &str) -> Result<(ExportFormat, PathBuf), String> {
    let refuse = || format!("{text:?}; qdq=FILE.onnx or qonnx=FILE.onnx is required");
    let (format, path) = text.split_once('=').filter(|(_, path)| !path.is_empty()).ok_or_else(refuse)?;
    let format = ExportFormat::from_str(format, false).map_err(|_| refuse())?;
    Ok((format, path.into()))
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  releqc compare lenet.onnx lenet.rq --data mnist/ --raw-pixels
  releqc compare kws.onnx kws.rq --input mfcc.npy --samples 16")]
pub(crate) struct Compare {
    /// The float network that was compiled
    #[arg(value_name = "MODEL.onnx")]
    pub(crate) model: PathBuf,
    /// Its artifact
    #[arg(value_name = "MODEL.rq")]
    pub(crate) artifact: PathBuf,
    /// Data, as for compile
    #[arg(long, value_name = "PATH", conflicts_with = "input", required_unless_present = "input")]
    pub(crate) data: Option<PathBuf>,
    /// Array of inputs; once for each input, in order or by name
    #[arg(long, value_name = "[NAME=]X.npy")]
    pub(crate) input: Vec<OsString>,
    #[command(flatten)]
    pub(crate) import: super::Import,
    #[command(flatten)]
    pub(crate) pixels: Pixels,
    /// Samples to compare on, the first ones
    #[arg(long, value_name = "N", default_value = "32", value_parser = super::values::parse_count)]
    pub(crate) samples: usize,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  releqc diff old.rq new.rq
  releqc diff old.rq new.rq --exit-code && echo \"the same bytes\"")]
pub(crate) struct Diff {
    /// An artifact
    #[arg(value_name = "A.rq")]
    pub(crate) a: PathBuf,
    /// Another one
    #[arg(value_name = "B.rq")]
    pub(crate) b: PathBuf,
    /// End with exit code 1 where the files differ, as git diff does
    #[arg(long)]
    pub(crate) exit_code: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  releqc completions bash > ~/.local/share/bash-completion/completions/releqc
  releqc completions zsh > ~/.zfunc/_releqc
  releqc completions fish > ~/.config/fish/completions/releqc.fish")]
pub(crate) struct Completions {
    /// Shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  releqc man ~/.local/share/man/man1")]
pub(crate) struct Man {
    /// Folder for the pages; it is made where its parent exists
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
}
