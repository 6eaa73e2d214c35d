#!/usr/bin/env python3
"""What the networks of ../shared/models/exports become: both exporters of PyTorch, and the form of tf2onnx.

    exports.py RELEQC EXPORTS [--json FILE]

For each file: compiled at 8 bits without data in the stated range of its inputs, run by three executors on the four samples
beside it, compared with the outputs of onnxruntime beside it (signal-to-noise ratio of the worst output), and whether both
exporters' files give the same weights section. Needs numpy.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

RANGE = {"lenet": "0:1", "espcn": "0:1"}


def run(*args):
    return subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=300)


def decibels(want, got):
    error = float(((want - got) ** 2).sum())
    return 100.0 if error == 0 else 10 * float(np.log10((want**2).sum() / error))


def measure(releqc, model, samples, folder):
    name = model.stem.removesuffix("_dynamo").removesuffix("_script")
    artifact = folder / f"{model.stem}.rq"
    inputs = sorted(key for key in samples.files if key.startswith("x"))
    # Pictures have one range; walks, and a second input, that of their samples.
    low, high = RANGE.get(name, "-2.2:2.6").split(":")
    if samples["x0"].ndim != 5 or len(inputs) > 1:
        low = min(samples[key].min() for key in inputs)
        high = max(samples[key].max() for key in inputs)
    done = run(releqc, model, "-o", artifact, "--bits", 8, "--input-range", f"{low}:{high}", "--quiet")
    if done.returncode:
        return {"model": model.stem, "refused": done.stderr.strip().splitlines()[-1]}
    rows = []
    for i, key in enumerate(inputs):
        path = folder / f"{key}.npy"
        x = samples[key].astype(np.float32)
        np.save(path, x.reshape(-1, *x.shape[2:]))
        rows += ["--input", path]
    texts, worst, equal = [], 100.0, True
    for executor in ["cpu", "reference", "accelerator"]:
        out = folder / f"{executor}.npy"
        done = run(releqc, "run", artifact, *rows, "--output", out, "--executor", executor, "--quiet")
        if done.returncode:
            return {"model": model.stem, "refused": f"{executor}: {done.stderr.strip()}"}
        written = [out] + sorted(folder.glob(f"{executor}.*.npy"))
        texts.append([path.read_bytes() for path in written])
        equal &= texts[-1] == texts[0]
        values = [np.load(path) for path in written]
        for path in written:
            path.unlink()
    wants = [samples[key].astype(np.float32) for key in sorted(samples.files) if key.startswith("y")]
    for want in wants:
        fits = [v for v in values if v.size == want.size]
        worst = min(worst, max(decibels(want.reshape(-1), v.reshape(-1)) for v in fits))
    return {"model": model.stem, "db": round(worst, 1), "equal": equal, "artifact": artifact}


def weights(releqc, artifact):
    sections = json.loads(run(releqc, "inspect", artifact, "--json").stdout)["sections"]
    return next(section["blake3"] for section in sections if section["name"] == "weights section")


def main():
    releqc, exports = map(pathlib.Path, sys.argv[1:3])
    results = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for model in sorted(exports.glob("*.onnx")):
            name = model.stem.removesuffix("_dynamo").removesuffix("_script")
            result = measure(releqc, model, np.load(exports / f"{name}.npz"), folder)
            if artifact := result.pop("artifact", None):
                result["weights"] = weights(releqc, artifact)
            results.append(result)
            print(result, flush=True)
    by_name = {result["model"]: result for result in results}
    done = [result for result in results if "refused" not in result]
    differ = sum(not result["equal"] for result in done)
    print(f"{len(done)} of {len(results)} files compile; {differ} with different bytes of the executors")
    names = [stem.removesuffix("_dynamo") for stem in by_name if stem.endswith("_dynamo")]
    names = sorted(name for name in names if f"{name}_script" in by_name)
    pairs = {name: {by_name[f"{name}_{exporter}"].get("weights") for exporter in ("dynamo", "script")} for name in names}
    equal = [name for name in names if len(pairs[name]) == 1 and None not in pairs[name]]
    print(f"{len(equal)} of {len(names)} pairs of exporters have the same weights section: {', '.join(equal)}")
    print(f"other weights: {', '.join(name for name in names if name not in equal) or 'none'}")
    if "--json" in sys.argv:
        path = sys.argv[sys.argv.index("--json") + 1]
        pathlib.Path(path).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
