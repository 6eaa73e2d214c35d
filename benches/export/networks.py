#!/usr/bin/env python3
"""Runs networks at 8 bits by releqc, and exported as QDQ by onnxruntime.

    networks.py RELEQC NETWORKS INPUTS [--floats] [NAME ..]

NETWORKS holds NAME.onnx, INPUTS holds NAME.npz with x0, x1, .. (a leading axis of samples before the extents of the network).
Prints the signal-to-noise ratio of onnxruntime's outputs against those of `releqc run`, in dB, for each output; 200 where they
are equal. --floats runs the file in floats. Needs numpy, onnx and onnxruntime. Exits 1 where a file does not load.
"""
import argparse, subprocess, sys, tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

MOST_SAMPLES = 4


def decibel(want, got):
    a, b = want.astype(np.float64).ravel(), got.astype(np.float64).ravel()
    error = ((a - b) ** 2).sum()
    return 200.0 if error == 0 else round(float(10 * np.log10(max((a**2).sum(), 1e-300) / error)), 1)


def rows(x):
    return x[:, 0] if x.ndim > 1 and x.shape[1] == 1 else x


def compare(releqc, path, arrays, floats, work):
    model = onnx.load(path, load_external_data=False)
    constants = {t.name for t in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in constants]
    flags, given = [], []
    samples = min(MOST_SAMPLES, len(arrays[0]))
    for k, (value, x) in enumerate(zip(inputs, arrays)):
        np.save(work / f"x{k}.npy", rows(x[:samples]))
        given += ["--input", f"{value.name}={work / f'x{k}.npy'}"]
        if x.dtype.kind == "f":
            flags += ["--input-range", f"{value.name}={min(float(x.min()), 0)}:{max(float(x.max()), 1e-3)}"]
        dims = value.type.tensor_type.shape.dim
        if any(d.WhichOneof("value") != "dim_value" or d.dim_value < 1 for d in dims[1:]):
            flags += ["--shape", f"{value.name}={','.join(map(str, x.shape[1:]))}"]
    artifact, exported, result = work / "m.rq", work / "m.onnx", work / "y.npy"
    for command in (
        [releqc, path, "-o", artifact, "--bits", "8", "--min-snr", "0", "--quiet", *flags],
        [releqc, "export", artifact, "-o", exported, "--quiet"],
        [releqc, "run", artifact, "--output", result, "--quiet", *given],
    ):
        p = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if p.returncode:
            return p.stderr.strip().splitlines()[-1]
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    if floats:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(str(exported), options)
    names = [i.name for i in session.get_inputs()]
    engine = [session.run(None, {n: x[j] for n, x in zip(names, arrays)}) for j in range(samples)]
    outputs = [o.name for o in session.get_outputs()]
    own = [np.load(result)] + [np.load(work / f"y.{name}.npy") for name in outputs[1:]]
    return [decibel(y, np.stack([e[k] for e in engine])) for k, y in enumerate(own)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releqc", type=Path)
    parser.add_argument("networks", type=Path)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("--floats", action="store_true")
    parser.add_argument("names", nargs="*")
    a = parser.parse_intermixed_args()
    failed = 0
    for name in a.names or sorted(p.stem for p in a.networks.glob("*.onnx")):
        z = np.load(a.inputs / f"{name}.npz")
        arrays = [z[f"x{k}"] for k in range(sum(key[0] == "x" for key in z.files))]
        with tempfile.TemporaryDirectory() as work:
            try:
                print(name, compare(a.releqc.resolve(), a.networks / f"{name}.onnx", arrays, a.floats, Path(work)), flush=True)
            except Exception as error:
                failed += 1
                print(name, "failed:", str(error).splitlines()[0][:150], flush=True)
    sys.exit(failed > 0)


main()
