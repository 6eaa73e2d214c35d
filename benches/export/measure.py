#!/usr/bin/env python3
"""Exports artifacts and runs them in other engines, beside `releqc run`.

    measure.py RELEQC SHARED [--engine ENGINE ..] [--rows N] [--uniform] [--grid] [--network NAME ..]

SHARED holds models/ and data/ (benches/samples.py). Each network is compiled once with widths from 3
to 8 bits, or with --uniform at 8. It is exported for each engine, and both run the same samples:

onnxruntime         QDQ, integer kernels
onnxruntime-float   QDQ, as it is written, in floats
onnxruntime-int4    QDQ with INT4 initialisers; every layer of at most 4 bits must have one
openvino            QDQ, integer kernels
openvino-float      QDQ, without OpenVINO's low precision transformations
qonnx               QONNX

With --grid the samples are moved to the nearest values that have a code. Pixels normalised to
-1..1 lie halfway between two codes, and each engine rounds such a value in its own way.

A row of the table says:

top-1     of releqc and of the engine, on labelled test samples; without labels, how often the largest
          output is the same one; - where outputs are no classes
within 1  share of output values that differ by at most one code; a code is the scale of the output,
          or a 255th of its range where it comes straight from sums
largest   greatest difference in codes
ratio     signal of releqc's outputs over the difference of the engine's, in dB

A row is marked MISSED where top-1 differs by more than 0.1 points or fewer than 99.9 % are within one
code, and the script exits 1. Needs numpy, onnx, pillow and the engines.
"""
import argparse, json, subprocess, sys, tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from samples import NETWORKS, VALUES

WIDTHS = [8, 5, 4, 6, 3, 7]


# ---- engines: the outputs of every feed --------------------------------------------------------


def onnxruntime(path, feeds, **settings):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Without VNNI, products of u8 and i8 saturate in pairs unless this is asked for.
    options.add_session_config_entry("session.x64quantprecision", "1")
    for key, value in settings.items():
        options.add_session_config_entry(key.replace("__", "."), value)
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [session.run(None, feed) for feed in feeds]


def onnxruntime_float(path, feeds):
    return onnxruntime(path, feeds, session__disable_quant_qdq="1")


def openvino(path, feeds, **settings):
    import openvino as ov

    core = ov.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", **settings}
    model = core.compile_model(core.read_model(str(path)), "CPU", settings)
    return [[model(feed)[i] for i in range(len(model.outputs))] for feed in feeds]


def openvino_float(path, feeds):
    return openvino(path, feeds, LP_TRANSFORMS_MODE="NO")


def qonnx(path, feeds):
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    model = ModelWrapper(str(path)).transform(InferShapes())
    names = [output.name for output in model.graph.output]
    found = (execute_onnx(model, feed) for feed in feeds)
    return [[outputs[name] for name in names] for outputs in found]


class Engine:
    def __init__(self, run, module, rows, flags=()):
        self.run, self.module, self.rows, self.flags = run, module, rows, list(flags)


# qonnx makes a session of onnxruntime for every node of every sample.
ENGINES = {
    "onnxruntime": Engine(onnxruntime, "onnxruntime", 5000),
    "onnxruntime-float": Engine(onnxruntime_float, "onnxruntime", 500),
    "onnxruntime-int4": Engine(onnxruntime, "onnxruntime", 500, ["--int4"]),
    "openvino": Engine(openvino, "openvino", 500),
    "openvino-float": Engine(openvino_float, "openvino", 500),
    "qonnx": Engine(qonnx, "qonnx", 40, ["--format", "qonnx"]),
}


# ---- a network ---------------------------------------------------------------------------------


def call(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    # 4: the artifact is there, and a goal was missed.
    if done.returncode not in (0, 4):
        raise RuntimeError((done.stderr or done.stdout).strip().splitlines()[-1])
    return done.stdout


class Compiled:
    """An artifact in a folder, and what releqc answers."""

    def __init__(self, releqc, model, samples, uniform, grid, folder):
        self.releqc, self.folder, self.samples = releqc, folder, samples
        self.artifact = folder / "m.rq"
        np.save(folder / "x.npy", samples)
        np.save(folder / "calibration.npy", samples[:: max(1, len(samples) // 64)][:64])
        compiling = [releqc, model, "-o", self.artifact, "--quiet", "--data", folder / "calibration.npy"]
        call(*compiling, "--bits", 8)
        self.widths = [8] * len(json.loads(call(releqc, "inspect", self.artifact, "--json"))["layers"])
        if not uniform:
            self.widths = [WIDTHS[i % len(WIDTHS)] for i in range(len(self.widths))]
            self.widths[-1] = 8
            call(*compiling, "--bits", ",".join(map(str, self.widths)))
        if grid:
            self.samples = on_grid(samples, self.exported(ENGINES["onnxruntime"])[1])
            np.save(folder / "x.npy", self.samples)
        call(releqc, "run", self.artifact, "--input", folder / "x.npy", "--output", folder / "y.npy", "--quiet")
        answers = np.load(folder / "y.npy")
        self.answers = answers.reshape(len(answers), -1).astype(np.float64)

    def exported(self, engine):
        """A file for an engine, as a checked message too."""
        path = self.folder / "exported.onnx"
        call(self.releqc, "export", self.artifact, "-o", path, "--quiet", *engine.flags)
        message = onnx.load(str(path))
        onnx.checker.check_model(message, full_check="qonnx" not in engine.flags)
        if "--int4" in engine.flags:
            int4 = [tensor for tensor in message.graph.initializer if tensor.data_type == onnx.TensorProto.INT4]
            narrow = sum(len(tensor.dims) > 1 for tensor in int4)
            wanted = sum(width <= 4 for width in self.widths)
            if narrow != wanted:
                raise RuntimeError(f"{narrow} INT4 weights for {wanted} layers of at most 4 bits")
        return path, message


def constant(message, name):
    return next(onnx.numpy_helper.to_array(tensor) for tensor in message.graph.initializer if tensor.name == name)


def on_grid(samples, message):
    """The samples as their codes say them."""
    entry = message.graph.input[0].name
    node = next(node for node in message.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == entry)
    scale, zero_point = (constant(message, name) for name in node.input[1:])
    codes = np.clip(np.rint(samples / scale), -float(zero_point), 255 - float(zero_point))
    return (codes * scale).astype(np.float32)


def scale_of(message, output):
    """The scale of an output that is dequantized."""
    made = {name: node for node in message.graph.node for name in node.output}
    node = made.get(output)
    while node is not None and node.op_type in ("Reshape", "Transpose", "Identity"):
        node = made.get(node.input[0])
    if node is None or node.op_type not in ("DequantizeLinear", "Quant"):
        return None
    return float(constant(message, node.input[1]).max())


def measure(compiled, engine, rows, labels, classes):
    """A row of the table, and whether it is as it must be."""
    path, message = compiled.exported(engine)
    value = message.graph.input[0]
    dims = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
    feeds = [{value.name: sample.reshape(dims)} for sample in compiled.samples[:rows]]
    found = np.stack([np.asarray(outputs[0], np.float64).ravel() for outputs in engine.run(path, feeds)])
    wanted = compiled.answers[:rows]
    step = scale_of(message, message.graph.output[0].name) or np.ptp(wanted) / 255 or 1
    codes = np.abs(found - wanted) / step
    # A difference of one code is one scale, up to the rounding of floats.
    share = 100 * float((codes <= 1.001).mean())
    noise = ((found - wanted) ** 2).sum()
    ratio = f"{10 * np.log10((wanted**2).sum() / noise):.1f}" if noise else "equal"
    own, theirs = wanted.argmax(1), found.argmax(1)
    if not classes:
        top, gap = "-", 0.0
    elif labels is None:
        same = 100 * float((own == theirs).mean())
        top, gap = f"same: {same:.2f}", 100 - same
    else:
        hits = [100 * float((answer == labels[:rows]).mean()) for answer in (own, theirs)]
        top, gap = f"{hits[0]:.2f} / {hits[1]:.2f}", abs(hits[0] - hits[1])
    return f"{len(feeds)} | {top} | {share:.3f} | {codes.max():.2f} | {ratio}", gap <= 0.1 + 1e-9 and share >= 99.9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releqc", type=Path)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--rows", type=int, help="samples at most; each engine has its own number")
    parser.add_argument("--uniform", action="store_true", help="8 bits in every layer")
    parser.add_argument("--grid", action="store_true", help="samples that no engine has to round")
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    args = parser.parse_args()
    engines = {name: ENGINES[name] for name in args.engine if find_spec(ENGINES[name].module)}
    for name in set(args.engine) - set(engines):
        print(f"skipped: {ENGINES[name].module} is not installed", file=sys.stderr)
    print("| network | engine | samples | top-1 % | within 1 % | largest, in codes | ratio, dB |")
    print("|---|---|---|---|---|---|---|")
    all_good = bool(engines)
    for name in args.network:
        samples, labels = NETWORKS[name](args.shared)
        with tempfile.TemporaryDirectory() as folder:
            model = args.shared / f"models/{name}.onnx"
            compiled = Compiled(args.releqc.resolve(), model, samples, args.uniform, args.grid, Path(folder))
            for title, engine in engines.items():
                rows = min(args.rows or engine.rows, engine.rows)
                try:
                    row, good = measure(compiled, engine, rows, labels, name not in VALUES)
                except Exception as error:
                    row, good = f"failed: {str(error)[:300]}", False
                all_good &= good
                print(f"| {name} | {title} | {row} |" + ("" if good else " MISSED"), flush=True)
    sys.exit(0 if all_good else 1)


if __name__ == "__main__":
    main()
