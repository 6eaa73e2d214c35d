#!/usr/bin/env python3
"""Top-1 in float and at 8 bits of the labelled networks that shared_inputs.py has written.

    accuracies.py RELEQC NETWORKS INPUTS [--bits 8] [--markdown FILE] [NAME ..]

Each network is compiled with INPUTS/NAME.labelled.npz: 512 samples to calibrate on (their labels
are not used), the test samples as the part that is measured. `float` is what the project's own
float executor reaches there, beside what onnxruntime does. Exits 1 where the two differ by more
than 0.1 points, or 8 bits lose more than 0.5.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releqc", type=Path)
    parser.add_argument("networks", type=Path)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--bits", type=int, default=8)
    parser.add_argument("--markdown", type=Path)
    a = parser.parse_args()
    names = a.names or sorted(p.name.removesuffix(".labelled.npz") for p in a.inputs.glob("*.labelled.npz"))
    lines = ["| network | samples | onnxruntime, % | float, % | artifact, % | compile, s |", "|---|---|---|---|---|---|"]
    missed = 0
    for name in names:
        path = next((p for p in (a.networks / f"{name}.onnx", a.networks / "thirdparty" / f"{name}.onnx") if p.exists()), None)
        if path is None:
            sys.exit(f"{name}: no such network in {a.networks}")
        data = a.inputs / f"{name}.labelled.npz"
        arrays = np.load(data)
        truth = 100 * float(arrays["float_top1"])
        with tempfile.TemporaryDirectory() as work:
            # Arrays of other names are refused.
            taken = Path(work) / "data.npz"
            np.savez(taken, **{k: arrays[k] for k in ("x_train", "y_train", "x_val", "y_val")})
            command = [a.releqc, path, "--bits", a.bits, "--data", taken, "--min-snr", 0, "-o", Path(work) / "a.rq", "--json"]
            done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        if done.returncode not in (0, 4):
            print(f"{name}: exit {done.returncode}: {done.stderr.strip().splitlines()[-1]}", flush=True)
            missed += 1
            continue
        said = json.loads(done.stdout.strip().splitlines()[-1])
        accuracy, seconds = said["accuracy"], said["seconds"]
        own, coded = 100 * accuracy["float"], 100 * accuracy["quantized"]
        missed += abs(own - truth) > 0.1 or own - coded > 0.5
        row = f"| {name} | {accuracy['samples']} | {truth:.2f} | {own:.2f} | {coded:.2f} | {seconds:.1f} |"
        lines.append(row)
        print(row, flush=True)
    if a.markdown:
        a.markdown.write_text("\n".join(lines) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
