#!/usr/bin/env python3
"""A search by 1 to 64 workers, replayed from the times of evaluations that were made.

    simulate.py EVALUATIONS.jsonl --needed Q=N [Q=N ..] [--workers 1,2,4,..] [--draws 200] [--seed 0]

EVALUATIONS.jsonl is what `--json-lines` wrote; the times between its lines (those that were not
answered from a store) are the durations. `--needed Q=N` says that a search with `--parallel Q`
reaches its target at its Nth evaluation (`cargo run --release -p releqc-passes --example
search_table` counts that).

The rule is that of `--parallel Q`: answers are told in the order of proposals, and proposal k may
begin when answer k - Q was told. A free worker takes the oldest proposal. Durations are drawn with
replacement. Each row: median time to the target, speed-up against one worker with Q = 1, and the
evaluations that were begun for nothing: what Q = 1 would not have needed, and what still ran when
the target was reached.
"""
import argparse
import heapq
import json
import random
import statistics
import sys


def durations(path):
    """Seconds of each evaluation that was computed."""
    times, last = [], 0.0
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if not row["stored"] and row["seconds"] > last:
                times.append(row["seconds"] - last)
            last = row["seconds"]
    return times


def replay(draw, window, workers, needed):
    """Time at which answer number `needed` is told, and evaluations that were begun by then."""
    free = [0.0] * workers
    told, started = [], []
    clock = 0.0
    k = 0
    while True:
        allowed = told[k - window] if k >= window else 0.0
        start = max(allowed, heapq.heappop(free))
        if len(told) >= needed and start >= told[needed - 1]:
            reached = told[needed - 1]
            return reached, sum(1 for s in started if s < reached)
        end = start + draw()
        heapq.heappush(free, end)
        started.append(start)
        clock = max(clock, end)
        told.append(clock)
        k += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evaluations")
    parser.add_argument("--needed", nargs="+", required=True, metavar="Q=N")
    parser.add_argument("--workers", default="1,2,4,8,16,32,64")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    times = durations(a.evaluations)
    if not times:
        sys.exit(f"{a.evaluations}: no evaluation that was computed")
    needed = {int(q): int(n) for q, n in (pair.split("=") for pair in a.needed)}
    if 1 not in needed:
        sys.exit("--needed: 1=N is what others are compared with")
    print(f"{len(times)} evaluations, median {statistics.median(times):.2f} s, longest {max(times):.2f} s")

    def median(window, workers, count):
        rng = random.Random(a.seed)
        runs = [replay(lambda: rng.choice(times), window, workers, count) for _ in range(a.draws)]
        return statistics.median(r[0] for r in runs), statistics.median(r[1] for r in runs)

    base, _ = median(1, 1, needed[1])
    print("| workers | parallel | time to target, s | speed-up | evaluations begun | wasted |")
    print("|---|---|---|---|---|---|")
    for workers in map(int, a.workers.split(",")):
        for window, count in sorted(needed.items()):
            if window < workers and window != max(needed):
                continue
            time, begun = median(window, workers, count)
            print(f"| {workers} | {window} | {time:.1f} | {base / time:.2f} | {begun:.0f} | {begun - needed[1]:.0f} |")


if __name__ == "__main__":
    main()
