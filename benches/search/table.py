#!/usr/bin/env python3
"""What each method of a search finds in equal time, on five labelled networks and a deep one without data.

    table.py RELEQC SHARED OUT [--time 3m] [--seeds 3] [--retrain short] [--markdown FILE] [NAME ..]

SHARED is the folder that networks.py describes. A run is one network and one seed: `--method-time TIME`, so that agent, uniform,
sensitivity greedy, both integer programmes and random get the same time, and what one has paid for costs the others the same. Each
method's choice is trained as the result is and measured on the third of the held-back samples that nothing was chosen on.

OUT keeps each run's report (NAME.SEED.json), artifact, evaluations and log. A report that is there is not made again, and a run
that was killed goes on from the evaluations that it had kept.

A row beats what is written where it is accepted by the same rule and costs less, or where what is written misses a goal that the
row keeps. Exits 1 where that happens. Needs numpy.
"""
import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from networks import DEEP, NETWORKS, write

GOAL = {"keyword spotting": "1"}


def command(a, name):
    if name == DEEP[0]:
        _, file, words = DEEP
        return [a.shared / "models" / file, *words, "--min-snr", a.min_snr]
    file, data, words = NETWORKS[name]
    if data == "kws01":
        samples = a.out / "kws01.npz"
        if not samples.exists():
            write(a.shared, data, samples)
    else:
        samples = a.shared / "data" / data
    return [a.shared / "models" / file, "--data", samples, *words, "--retrain", a.retrain, "--max-loss", GOAL.get(name, "0.5")]


def run(a, name, seed):
    stem = a.out / f"{name.replace(' ', '-')}.{seed}"
    report = Path(f"{stem}.json")
    if not report.exists():
        words = [*command(a, name), "-o", f"{stem}.rq", "--seed", seed, "--method-time", a.time, "--resume", "--json"]
        with open(f"{stem}.log", "w") as log:
            print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
            done = subprocess.run([str(w) for w in [a.releqc, *words]], stdout=subprocess.PIPE, stderr=log, text=True)
        if done.returncode not in (0, 4):
            sys.exit(f"{name}, seed {seed}: exit {done.returncode}; {stem}.log says why")
        unfinished = report.with_suffix(".part")
        unfinished.write_text(done.stdout.strip().splitlines()[-1])
        unfinished.rename(report)
    return json.loads(report.read_text())


def accepted(row):
    """Of a long run whether it kept the goal; else a reward of 0 or more says so."""
    return row["kept"] if row["kept"] is not None else row["reward"] >= 0


def beaten(report):
    """Rows that what is written should have been."""
    bits, missed = report["average_bits"], report["goal_missed"]
    rows = report["search"]["methods"]
    return [row["name"] for row in rows if accepted(row) and (missed or row["average_bits"] < bits - 1e-9)]


def beaten_there(report):
    """Rows that lose no more and cost no more than what is written on the samples that nothing was chosen on: chance has a part in it."""
    ours = report["confirmation"]
    better = []
    for row in report["search"]["methods"]:
        theirs = row["confirmation"]
        if ours and theirs:
            own, other = (report["average_bits"], ours["loss_points"]), (row["average_bits"], theirs["loss_points"])
            if other[0] <= own[0] and other[1] <= own[1] and other != own:
                better.append(row["name"])
    return better


def mean(values, digits=2):
    values = [value for value in values if value is not None]
    return f"{statistics.fmean(values):.{digits}f}" if values else "-"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releqc", type=Path)
    parser.add_argument("shared", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--time", default="3m", help="of each method")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--retrain", default="short", choices=["none", "short", "full"])
    parser.add_argument("--min-snr", default="25", help="dB that the network without data keeps")
    parser.add_argument("--markdown", type=Path)
    a = parser.parse_intermixed_args()
    a.releqc, a.shared, a.out = a.releqc.resolve(), a.shared.resolve(), a.out.resolve()
    a.out.mkdir(parents=True, exist_ok=True)
    lines = [
        f"{a.time} for each method, {a.seeds} seeds, retraining: {a.retrain}. Losses in points, of {DEEP[0]} in dB below the",
        "ratio that is asked for; means of the seeds. `confirmed` is on samples that nothing was chosen on.",
        "",
        "| network | method | mean bits | lost in the search | confirmed | interval of 95 % | evaluations | seconds | accepted |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    failures, by_chance, pairs = [], 0, 0
    for name in a.names or [*NETWORKS, DEEP[0]]:
        reports = [run(a, name, seed) for seed in range(a.seeds)]
        for seed, report in enumerate(reports):
            failures += [f"{name}, seed {seed}: {method}" for method in beaten(report)]
            by_chance += len(beaten_there(report))
            pairs += len(report["search"]["methods"])
        of = lambda key: mean([report["confirmation"] and report["confirmation"][key] for report in reports])
        lines.append(
            f"| {name} | **written** | {mean([r['average_bits'] for r in reports])} | | {of('loss_points')} | "
            f"{of('low')} to {of('high')} | {mean([r['evaluations'] for r in reports], 0)} | "
            f"{mean([r['seconds'] for r in reports], 0)} | {sum(not r['goal_missed'] for r in reports)} of {len(reports)} |"
        )
        for method in dict.fromkeys(row["name"] for report in reports for row in report["search"]["methods"]):
            rows = [row for report in reports for row in report["search"]["methods"] if row["name"] == method]
            of = lambda key: mean([row["confirmation"] and row["confirmation"][key] for row in rows])
            lines.append(
                f"| | {method} | {mean([r['average_bits'] for r in rows])} | {mean([r['loss'] for r in rows])} | "
                f"{of('loss_points')} | {of('low')} to {of('high')} | {mean([r['evaluations'] for r in rows], 0)} | "
                f"{mean([r['seconds'] for r in rows], 0)} | {sum(map(accepted, rows))} of {len(rows)} |"
            )
        print("\n".join(lines[-8:]), flush=True)
    lines += ["", f"Rows that beat what is written by the rule of the search: {', '.join(failures) or 'none'}. On the samples that"]
    lines += [f"nothing was chosen on {by_chance} of {pairs} rows lose no more at no more bits."]
    if a.markdown:
        a.markdown.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
