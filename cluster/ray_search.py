#!/usr/bin/env python3
"""A search whose evaluations run on a Ray cluster.

    ray_search.py --store DIR [--workers N] [--threads T] [--releqc PATH] -- MODEL.onnx -o MODEL.rq
                  --data DATA --parallel Q ..

What stands behind `--` is a command line of `releqc` without `--store`. It runs here and proposes;
N actors (default: one for each T cores of the cluster) run `releqc worker --store DIR --threads T`
on any node. DIR, the model and the data are seen by all nodes under the same paths.

An actor asks Ray for T cores. A node that is lost costs the evaluation that it was computing: its
claim expires, another worker repeats it, and Ray starts the actor again where there is room. The
artifact has the same bytes whatever happened to the workers.

Each actor reports `releqc_evaluations` (counter) to Ray's metrics, and its name in the dashboard is
`releqc-worker-K`. The exit code is that of `releqc`. Needs ray 2.x.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import time

import ray
from ray.util.metrics import Counter

# Seconds between two looks at the proposer and the actors.
INTERVAL = 0.5
# Seconds without a job after which a worker asks whether it is still needed.
IDLE = 30


@ray.remote(max_restarts=-1, max_task_retries=-1)
class Worker:
    """One `releqc worker`; `run` lasts as long as there is a search."""

    def __init__(self, releqc, store, threads):
        self.command = [releqc, "worker", "--store", store, "--threads", str(threads), "--idle-exit", str(IDLE), "--json"]
        self.done = Counter("releqc_evaluations", description="jobs that workers have finished")

    def run(self):
        """Works until the store has had no job for a while; the number of jobs done."""
        jobs = 0
        process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
        for line in process.stdout:
            job = json.loads(line)
            if "kind" in job:
                print(f"{job['kind']} {job['widths']}, {job['seconds']:.1f} s, {job['kept']}", flush=True)
                jobs += 1
                self.done.inc()
        code = process.wait()
        if code != 0:
            raise RuntimeError(f"releqc worker ended with exit code {code}")
        return jobs


def die_with_parent():
    """The worker ends when its actor is killed (Linux)."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--releqc", default="releqc")
    parser.add_argument("--address", help="of the cluster; default: the one of this machine, or a new one")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and the command line of releqc")
    a = parser.parse_args()
    if a.command[:1] == ["--"]:
        a.command = a.command[1:]
    if not a.command:
        parser.error("nothing behind --")
    return a


def main():
    a = arguments()
    store = os.path.abspath(a.store)
    os.makedirs(store, exist_ok=True)
    ray.init(address=a.address, ignore_reinit_error=True, log_to_driver=True)
    workers = a.workers or max(1, int(ray.cluster_resources().get("CPU", 1)) // a.threads)
    proposer = subprocess.Popen([a.releqc, *a.command, "--store", store])
    actors = [
        Worker.options(name=f"releqc-worker-{k}", num_cpus=a.threads).remote(a.releqc, store, a.threads)
        for k in range(workers)
    ]
    running = {actor.run.remote(): (actor, k) for k, actor in enumerate(actors)}
    evaluations = 0
    try:
        while proposer.poll() is None:
            ready, _ = ray.wait(list(running), timeout=INTERVAL)
            for task in ready:
                actor, k = running.pop(task)
                try:
                    evaluations += ray.get(task)
                except (ray.exceptions.RayError, RuntimeError) as error:
                    print(f"releqc-worker-{k}: {error}", file=sys.stderr)
                    time.sleep(INTERVAL)
                running[actor.run.remote()] = (actor, k)
    except KeyboardInterrupt:
        proposer.send_signal(signal.SIGINT)
    code = proposer.wait()
    for actor, _ in running.values():
        ray.kill(actor)
    return code


if __name__ == "__main__":
    sys.exit(main())
