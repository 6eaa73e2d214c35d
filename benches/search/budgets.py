#!/usr/bin/env python3
"""Are budgets kept by the artifact itself, and is what is returned beaten by no uniform width?

    budgets.py RELEQC SHARED [--episodes 8] [--markdown FILE] [NAME ..]

SHARED is the folder that networks.py describes. For each of five networks and each budget the limit is what the network takes
with 4 bits in every layer (of the latency 1.1 times that), so a uniform width is just inside. Nothing is retrained: minutes in
all. The artifact is looked at from outside: `inspect` for the widths and the memory, the size of the file, `sim` for cycles and
energy, `bench` for the latency. A uniform width beats it where it takes no more of the budget, loses no more on the same samples,
and does better in one of the two. Exits 1 where a budget is missed or a uniform width is better. Needs numpy.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from networks import NETWORKS, write

WIDTHS = range(2, 9)
# Latencies are measured anew by every process.
LATENCY_MARGIN = 1.1


class Binary:
    def __init__(self, path):
        self.path = path

    def run(self, *words, codes=(0,)):
        done = subprocess.run([str(self.path), *map(str, words)], capture_output=True, text=True)
        if done.returncode not in codes:
            sys.exit(f"{' '.join(map(str, words))}: exit {done.returncode}\n{done.stderr}")
        return done

    def json(self, *words, codes=(0,)):
        done = self.run(*words, "--json", codes=codes)
        return json.loads(done.stdout.strip().splitlines()[-1]), done.returncode

    def takes(self, artifact):
        """What an artifact takes of each budget, seen from outside."""
        inspected, _ = self.json("inspect", artifact)
        simulated, _ = self.json("sim", artifact)
        bits = [layer["bits"] for layer in inspected["layers"]]
        return {
            "--average-bits": sum(bits) / len(bits),
            "--max-size": Path(artifact).stat().st_size,
            "--max-ram": inspected["activation_bytes"],
            "--max-cycles": simulated["cycles"],
            "--max-energy": simulated["energy_pj"],
            "--max-latency": min(float(self.run("bench", artifact, "--median").stdout.split()[0]) for _ in range(3)),
        }


UNITS = {"--max-size": "B", "--max-ram": "B", "--max-energy": "pJ", "--max-latency": "us"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releqc", type=Path)
    parser.add_argument("shared", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--validation", type=int, default=900, help="samples held back; a third of them confirms")
    parser.add_argument("--markdown", type=Path)
    a = parser.parse_intermixed_args()
    binary = Binary(a.releqc.resolve())
    lines = [
        "| network | budget | limit | taken | kept | mean bits | lost, points | best uniform inside | it loses | beaten |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    failures = 0
    for name in a.names or NETWORKS:
        file, data, pixels = NETWORKS[name]
        model = a.shared.resolve() / "models" / file
        with tempfile.TemporaryDirectory() as work:
            work = Path(work)
            samples = write(a.shared, data, work / "data.npz", training=256, validation=a.validation)
            common = [model, "--data", samples, *pixels, "--retrain", "none"]
            uniform = {}
            for bits in WIDTHS:
                artifact = work / f"uniform{bits}.rq"
                binary.run(*common, "-o", artifact, "--bits", bits, "--min-snr", 0, "--quiet", codes=(0, 4))
                uniform[bits] = binary.takes(artifact)
            for budget in uniform[4]:
                limit = uniform[4][budget] * (LATENCY_MARGIN if budget == "--max-latency" else 1)
                # One number, whatever form it is printed in.
                limit = float(f"{limit:.9g}") if budget == "--max-latency" else limit
                words = ["-o", work / "y.rq", "--episodes", a.episodes, budget]
                given = f"{limit!r}{UNITS.get(budget, '')}"
                report, code = binary.json(*common, *words, given, codes=(0, 4))
                taken = binary.takes(work / "y.rq")[budget]
                stated = next(row for row in report["budgets"])
                exact = budget == "--max-latency" or abs(stated["reached"] - taken) <= 1e-9 * taken
                slack = LATENCY_MARGIN if budget == "--max-latency" else 1 + 1e-12
                kept = exact and stated["met"] and code == 0 and taken <= limit * slack
                rows = report["search"]["history"]
                written = [layer["bits"] for layer in report["layers"]]
                lost = next((row["loss"] for row in rows if row["widths"] == written), None)
                inside = {
                    row["widths"][0]: row["loss"]
                    for row in rows
                    if row["method"] == "uniform" and uniform[row["widths"][0]][budget] <= limit * slack
                }
                # Widths do not change the memory: the fewest bits that keep the loss are looked for.
                counted = "--average-bits" if budget == "--max-ram" else budget
                takes = {bits: uniform[bits][counted] for bits in inside}
                own = sum(written) / len(written) if budget == "--max-ram" else taken
                # Equal widths are the same artifact, and measured latencies of equal work differ.
                near = lambda x, y: budget == "--max-latency" and abs(x - y) <= (LATENCY_MARGIN - 1) * y
                better = [
                    bits
                    for bits, loss in inside.items()
                    if lost is not None
                    and [bits] * len(written) != written
                    and loss <= lost
                    and takes[bits] <= own
                    and (loss < lost or (takes[bits] < own and not near(takes[bits], own)))
                ]
                best = min(inside, key=lambda bits: (inside[bits], bits), default=None)
                failures += bool(better) + (not kept) + (lost is None)
                mean = sum(written) / len(written)
                row = (
                    f"| {name} | `{budget}` | {limit:.6g} | {taken:.6g} | {'yes' if kept else 'NO'} | {mean:.2f} | "
                    f"{'?' if lost is None else f'{lost:.2f}'} | {best or '-'} | "
                    f"{'-' if best is None else f'{inside[best]:.2f}'} | {better or 'no'} |"
                )
                lines.append(row)
                print(row, flush=True)
    if a.markdown:
        a.markdown.write_text("\n".join(lines) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
