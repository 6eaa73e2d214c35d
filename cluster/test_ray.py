#!/usr/bin/env python3
"""A search on a Ray cluster that loses a node: the artifact has the bytes of a search without workers.

    test_ray.py RELEQC [ARGUMENT ..]

A head without cores and two nodes of one core, all on this machine. The first node is killed once a
worker has finished two evaluations. ARGUMENTs are the network, its data and the options of the
search; the default is the label-free search of the committed LeNet. Needs ray 2.x.
"""
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from ray.cluster_utils import Cluster

HERE = Path(__file__).resolve().parent
DEFAULT = [str(HERE.parent / "models" / "lenet.onnx"), "--episodes", "8"]


def main():
    releqc = os.path.abspath(sys.argv[1])
    search = [*(sys.argv[2:] or DEFAULT), "--parallel", "4", "--threads", "1", "--quiet"]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        alone = [releqc, *search, "-o", str(work / "alone.rq"), "--store", str(work / "alone")]
        code = subprocess.run(alone).returncode
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        driver = subprocess.Popen(
            [sys.executable, str(HERE / "ray_search.py"), "--address", cluster.address, "--releqc", releqc,
             "--store", str(work / "store"), "--workers", "2", "--", *search, "-o", str(work / "ray.rq")],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        seen = []

        def read():
            for line in driver.stdout:
                print(line, end="", flush=True)
                seen.append(line)

        reader = threading.Thread(target=read)
        reader.start()
        killed = False
        while driver.poll() is None:
            if not killed and sum(" s, " in line for line in seen) >= 2:
                cluster.remove_node(nodes[0], allow_graceful=False)
                killed = True
                print("killed a node", flush=True)
            time.sleep(0.1)
        reader.join()
        cluster.shutdown()
        if not killed:
            sys.exit("the search ended before a node could be killed: take a longer one")
        if driver.returncode != code:
            sys.exit(f"exit code {driver.returncode}, {code} without a cluster")
        if (work / "ray.rq").read_bytes() != (work / "alone.rq").read_bytes():
            sys.exit("the artifacts differ")
    print("equal bytes after a lost node")


if __name__ == "__main__":
    main()
