#!/usr/bin/env python3
"""Compiles random networks at 8 bits and compares the artifacts with onnxruntime in float.

    compare.py RELEQC [--seeds FIRST:END] [--keep DIR] [--least 15]

A network is calibrated on 64 samples and run on 8 others. Right is: `check` and the compiler agree; the three executors give the
same bytes, in the shapes of onnxruntime; every output has at least LEAST dB of signal-to-noise ratio; a refusal is none of a
defect. Exits 1 where something is not right, with the seed and what the network consists of. Needs numpy, onnx, onnxruntime.
"""
import argparse, json, subprocess, sys, tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from networks import Network

CALIBRATION, RUN = 64, 8
LIMIT_S = 120
# An output that hardly moves beside its network's values has no ratio worth the name.
LITTLE = 1e-3


def floats(net, x):
    """Outputs of each sample by onnxruntime, without its optimisations; `None` where it takes the model for invalid."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        onnx.checker.check_model(net.model)
        session = onnxruntime.InferenceSession(net.model.SerializeToString(), options)
        rows = [session.run(None, {"x": sample[None]}) for sample in x]
    except Exception:
        return None
    outputs = [np.concatenate([row[k] for row in rows]) for k in range(len(rows[0]))]
    usable = lambda y: np.isfinite(y).all() and np.abs(y).max() > LITTLE and y.shape[0] == len(x)
    return outputs if all(usable(y) for y in outputs) else None


def decibel(want, got):
    error, signal = ((want.astype(np.float64) - got) ** 2).sum(), (want.astype(np.float64) ** 2).sum()
    return float("inf") if error == 0 else 10 * np.log10(signal / error)


def call(*args):
    try:
        p = subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return None, f"more than {LIMIT_S} s"
    return p.returncode, (p.stdout.strip().splitlines() or [""])[-1] or p.stderr[-300:]


def judge(releqc, net, x, want, work, least):
    """What is wrong with a network; empty where nothing is. With it the ratio of the worst output."""
    onnx.save(net.model, work / "m.onnx")
    np.savez(work / "data.npz", x=x[RUN:])
    np.save(work / "x.npy", x[:RUN])
    checked, _ = call(releqc, "check", work / "m.onnx")
    code, said = call(releqc, work / "m.onnx", "--bits", 8, "--data", work / "data.npz", "--min-snr", 0, "--threads", 1, "--json",
                      "-o", work / "m.rq")
    if (checked == 0) != (code in (0, 4)):
        return f"check exits with {checked}, the compiler with {code}: {said}", None
    if code == 3:
        return "", None
    if code not in (0, 4):
        return f"exit {code}: {said}", None
    got = {}
    for executor in ("cpu", "reference", "accelerator"):
        code, said = call(releqc, "run", work / "m.rq", "--input", f"x={work}/x.npy", "--output", work / f"{executor}.npy",
                          "--executor", executor, "--threads", 1, "--json")
        if code:
            return f"run, {executor}: exit {code}: {said}", None
        got[executor] = [np.load(work / o["file"]) for o in json.loads(said)["outputs"]]
    for executor in ("reference", "accelerator"):
        if any(a.tobytes() != b.tobytes() for a, b in zip(got["cpu"], got[executor])):
            return f"cpu and {executor} differ", None
    for y, z in zip(want, got["cpu"]):
        if y.shape != z.shape:
            return f"shape {z.shape}, onnxruntime gives {y.shape}", None
    ratio = min(decibel(y, z) for y, z in zip(want, got["cpu"]))
    return ("" if ratio >= least else f"{ratio:.1f} dB"), ratio


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("releqc", type=Path)
    p.add_argument("--seeds", default="0:300")
    p.add_argument("--least", type=float, default=15.0)
    p.add_argument("--keep", type=Path, help="the networks that are not right, with inputs and outputs, go into this folder")
    a = p.parse_args()
    a.releqc = a.releqc.resolve()
    first, end = (int(s) for s in a.seeds.split(":"))
    ratios, refused, left, wrong = [], 0, 0, 0
    for seed in range(first, end):
        net = Network(seed)
        x = np.clip(np.random.default_rng([seed, 1]).standard_normal((RUN + CALIBRATION, *net.shape)), -2, 2.5).astype(np.float32)
        want = floats(net, x)
        if want is None:
            left += 1
            continue
        want = [y[:RUN] for y in want]
        with tempfile.TemporaryDirectory() as work:
            problem, ratio = judge(a.releqc, net, x, want, Path(work), a.least)
        if problem:
            wrong += 1
            print(f"seed {seed}, opset {net.opset}: {problem}\n    {' '.join(net.operators())}", flush=True)
            if a.keep:
                a.keep.mkdir(exist_ok=True)
                onnx.save(net.model, a.keep / f"{seed}.onnx")
                np.savez(a.keep / f"{seed}.npz", x=x, **{f"y{k}": y for k, y in enumerate(want)})
        elif ratio is None:
            refused += 1
        else:
            ratios.append(ratio)
    spread = "" if not ratios else f"; {np.percentile(ratios, 1):.1f} dB at the first percentile, {np.median(ratios):.1f} in the middle"
    print(f"{len(ratios)} right, {refused} refused, {wrong} wrong, {left} that onnxruntime does not run or that give nothing{spread}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
