#!/usr/bin/env python3
"""The paper's networks at the paper's widths on the accelerator, against the same networks at 8 bits.

    measure.py RELEQC FOLDER [NAME ..]        FOLDER keeps networks and artifacts

Makes each network with random weights (networks.py), compiles it at given widths, and simulates it on every machine. Prints
tables in Markdown: speed-up and energy ratio under each preset and each table of energies, beside the paper's means; the widths
of ADMM beside those of the paper; what binds the cycles; serial activations and both (Loom); bytes of the programs; seconds.
Needs numpy and onnx.
"""
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from networks import ADMM, PAPER

MACHINES = ["default", "edge", "large"]
# The default machine, changed. With both operands serial 128 lanes of one bit by one bit make as many products as 16.
VARIANTS = {
    "weights": "lanes = 16",
    "weights, 4 requantizers a row": "lanes = 16\nrequantizers = 4",
    "activations": 'lanes = 16\nserial = "activations"',
    "both, 128 lanes": 'lanes = 128\nserial = "both"',
}
TABLES = ["28nm", "45nm-horowitz", "45nm-cacti"]


def call(args):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, args))}\n{done.stderr}")
    return done.stdout


class Bench:
    def __init__(self, releqc, folder):
        self.releqc, self.folder = releqc, Path(folder)
        self.folder.mkdir(exist_ok=True)

    def artifact(self, name, widths):
        make = PAPER[name][0]
        stem = name.lower().replace("-", "")
        path = self.folder / f"{stem}.onnx"
        net = make()
        if not path.exists():
            net.save(path)
        assert net.layers == len(widths), (name, net.layers, widths)
        result = self.folder / f"{stem}_{'_'.join(map(str, widths))}.rq"
        if not result.exists():
            data = self.folder / f"{stem}.npy"
            np.save(data, np.random.default_rng(3).uniform(-1, 1, (1, *net.input)).astype(np.float32))
            call([self.releqc, "compile", path, "-o", result, "--bits", ",".join(map(str, widths)), "--rounding", "nearest",
                  "--data", data, "--min-snr", "0", "--quiet"])
        return result

    def sim(self, artifact, machine):
        start = time.time()
        report = json.loads(call([self.releqc, "sim", artifact, "--machine", machine, "--json"]))
        report["seconds"] = time.time() - start
        return report

    def described(self, name, lanes):
        """The default machine with other lines instead of its lanes."""
        text = (Path(__file__).parent / "../../passes/src/machine/default.toml").read_text()
        path = self.folder / (re.sub(r"\W+", "_", name) + ".toml")
        path.write_text(text.replace("lanes = 16", lanes, 1))
        return path


def mean(values):
    return sum(values) / len(values)


def table(header, rows):
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def ratios(report):
    """Speed-up, and energy ratio under each table."""
    tables = {entry["name"]: entry["energy_ratio"] for entry in report["energy_tables"]}
    return [report["speedup"]] + [tables[name] for name in TABLES]


def energies(report):
    return {entry["name"]: entry["energy_pj"] for entry in report["energy_tables"]}


def bound(report):
    """Shares of the cycles by what binds the layer, at the widths."""
    shares = {}
    for layer in report["layers"]:
        shares[layer["bound_by"]] = shares.get(layer["bound_by"], 0) + layer["cycles"]
    total = max(1, sum(shares.values()))
    return ", ".join(f"{name} {100 * cycles / total:.0f} %" for name, cycles in sorted(shares.items(), key=lambda s: -s[1]) if cycles)


def weighted(report):
    """8 / mean width by products, and by bytes of weights: what a machine bound by one of them alone would gain."""
    layers = [layer for layer in report["layers"] if layer["bits"]]
    by_macs = sum(8 * layer["macs"] for layer in layers) / sum(layer["bits"] * layer["macs"] for layer in layers)
    weights = [(layer["weight_bytes"], layer["weight_bytes"] * 8 / layer["bits"]) for layer in layers]
    return by_macs, sum(wide for _, wide in weights) / sum(own for own, _ in weights)


def computing(report):
    """Cycles of the planes of all layers with weights."""
    return sum(layer["compute_cycles"] for layer in report["layers"] if layer["bits"])


def main():
    bench = Bench(sys.argv[1], sys.argv[2])
    names = sys.argv[3:] or list(PAPER)
    reports = {}
    for name in names:
        artifact = bench.artifact(name, PAPER[name][1])
        for machine in MACHINES:
            reports[name, machine] = bench.sim(artifact, machine)

    for machine in MACHINES:
        print(f"Machine `{machine}`, weights serial.\n")
        rows, all_ratios = [], []
        for name in names:
            report = reports[name, machine]
            values = ratios(report)
            all_ratios.append(values)
            macs, weights = weighted(report)
            rows.append([name, f"{report['baseline_8bit']['cycles']:,}", f"{report['cycles']:,}", *[f"{v:.2f}" for v in values],
                         f"{macs:.2f}, {weights:.2f}", bound(report)])
        rows.append(["mean", "", "", *[f"{mean(column):.2f}" for column in zip(*all_ratios)], "", "paper: 2.0 times as fast, 2.0 times less energy"])
        table(["network", "cycles at 8 bits", "cycles", "speed-up", *[f"energy {t}" for t in TABLES], "8 / width by products, by weights",
               "cycles at the widths by what binds"], rows)

    print("The paper's widths against those of ADMM.\n")
    rows = []
    for name in [name for name in ADMM if name in names]:
        widths, speed, energy = ADMM[name]
        artifact = bench.artifact(name, widths)
        for machine in MACHINES:
            own, other = reports[name, machine], bench.sim(artifact, machine)
            mine, theirs = energies(own), energies(other)
            rows.append([name, machine, f"{other['cycles']:,}", f"{own['cycles']:,}", f"{other['cycles'] / own['cycles']:.2f}",
                         f"{computing(other) / computing(own):.2f}", *[f"{theirs[t] / mine[t]:.2f}" for t in TABLES], f"{speed}, {energy}", bound(own)])
    table(["network", "machine", "cycles, ADMM", "cycles, ReLeQ", "speed-up", "array alone", *[f"energy {t}" for t in TABLES], "paper: speed, energy",
           "cycles by what binds"], rows)

    print("Variants of the machine `default`, each against itself at 8 bits.\n")
    rows = []
    for variant, lanes in VARIANTS.items():
        machine = bench.described(variant, lanes)
        values = []
        for name in names:
            report = bench.sim(bench.artifact(name, PAPER[name][1]), machine)
            assert report["serial"] == variant.split(",")[0]
            values.append(ratios(report))
        rows.append([variant, *[f"{v[0]:.2f}" for v in values], *[f"{mean(column):.2f}" for column in zip(*values)]])
    table(["serial", *names, "mean speed-up", *[f"mean energy {t}" for t in TABLES]], rows)

    print("Layers with the most cycles at the widths, machine `default`.\n")
    rows = []
    for name in names:
        report = reports[name, "default"]
        for layer in sorted(report["layers"], key=lambda layer: -layer["cycles"])[:3]:
            share = 100 * layer["cycles"] / report["cycles"]
            gain = layer["baseline_8bit"]["cycles"] / max(1, layer["cycles"])
            rows.append([name, layer["name"], str(layer["bits"] or ""), f"{share:.0f} %", f"{gain:.2f}", layer["bound_by"],
                         f"{layer['execute']['busy']:,}", f"{layer['dram_cycles']:,}", f"{layer['execute']['starved']:,}"])
    table(["network", "layer", "bits", "share of cycles", "gain over 8 bits", "bound by", "execute busy", "bus busy", "execute starved"], rows)

    print("Programs and the time of `releqc sim --json`.\n")
    rows = []
    for name in names:
        report = reports[name, "default"]
        total = report["cycles"] + report["baseline_8bit"]["cycles"]
        rows.append([name, f"{48 + 16 * report['program_instructions']:,}", f"{report['seconds']:.3f}", f"{total / report['seconds'] / 1e6:,.0f}"])
    table(["network", "bytes of the program", "seconds", "million cycles simulated a second"], rows)


if __name__ == "__main__":
    main()
