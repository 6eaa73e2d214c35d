#!/usr/bin/env python3
"""Time of integer networks against onnxruntime, float and int8: one thread, batch 1.

    times.py RELEQC NETWORKS INPUTS [--rounds 5] [--core N] [--work DIR] [--steps N] [--json FILE] [--markdown FILE] [NAME ..]

NETWORKS holds NAME.onnx; INPUTS holds NAME.npz (x0, x1, .. with a leading axis of samples) and NAME.calibration.npz, as
measure.py takes them. The artifact has 8 bits everywhere, calibrated on the samples of NAME.calibration.npz. The int8 network of
onnxruntime is its static quantization (QDQ, u8 activations, s8 weights, one scale a channel from opset 13 on, min-max) on at most 64 of the same samples.

A round times our artifact (`releqc bench --median`), the float network and the int8 network one after the other; the order
turns with each round. A ratio is formed within a round; given are medians over the rounds. `islands` is the share of our time
that operators on floats alone take. --steps lists our slowest steps. Files that were made are kept in DIR and not made again.

Needs numpy, onnx and onnxruntime.
"""
import argparse, json, os, subprocess, sys, tempfile, time
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).parent))
from measure import fixed_batch, inputs_of, last, rows, run, shape_flags, some

NAMES = "squeezenet_fp16 efficientnet_lite0_script pfld_106_lite fastestdet nanodet_m_320 mesonet dtln_1 magika_v3_3 gesture_blake ultraface_slim_post"
BUDGET, LEAST = 0.6, 5


def compiled(a, name, work):
    """Our artifact; the message where it is refused."""
    artifact = work / f"{name}.rq"
    if artifact.exists():
        return artifact
    path = a.networks / f"{name}.onnx"
    model = onnx.load(path, load_external_data=False)
    inputs, batch = inputs_of(model), fixed_batch(model)
    c = np.load(a.inputs / f"{name}.calibration.npz")
    names = ["x"] if len(inputs) == 1 else [value.name for value in inputs]
    data = work / f"{name}.data.npz"
    np.savez(data, **{n: some(rows(c[f"x{k}"], batch), 64) for k, n in enumerate(names)})
    flags = shape_flags(inputs, [c[f"x{k}"] for k in range(len(inputs))])
    code, out, err, _, _ = run([a.releqc, path, "--bits", 8, "-o", artifact, "--data", data, "--threads", 1, "--json", *flags], 1800)
    if code not in (0, 4):
        raise RuntimeError(f"not compiled: {last(err) or last(out)}")
    return artifact


def feeds(a, name):
    """Names of the inputs, and the samples of the calibration as onnxruntime takes them."""
    model = onnx.load(a.networks / f"{name}.onnx", load_external_data=False)
    c = np.load(a.inputs / f"{name}.calibration.npz")
    names = [value.name for value in inputs_of(model)]
    count = min(len(c["x0"]), 64)
    return [{n: np.ascontiguousarray(c[f"x{k}"][i]) for k, n in enumerate(names)} for i in range(count)]


def quantized(a, name, work):
    """The int8 network of onnxruntime."""
    path = work / f"{name}.int8.onnx"
    if path.exists():
        return path
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self, samples):
            self.samples = iter(samples)

        def get_next(self):
            return next(self.samples, None)

    prepared = work / f"{name}.prepared.onnx"
    source = str(a.networks / f"{name}.onnx")
    try:
        quant_pre_process(source, str(prepared), skip_symbolic_shape=True)
    except Exception:
        prepared = Path(source)
    options = dict(quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    # Scales a channel need opset 13.
    opset = max(o.version for o in onnx.load(str(prepared), load_external_data=False).opset_import if o.domain in ("", "ai.onnx"))
    quantize_static(str(prepared), str(path), Reader(feeds(a, name)), per_channel=opset >= 13, **options)
    return path


def session(path, feed):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    it = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kinds = {i.name: i.type for i in it.get_inputs()}
    types = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(uint8)": np.uint8, "tensor(double)": np.float64, "tensor(bool)": np.bool_}
    feed = {n: feed[n].astype(types[kind]) for n, kind in kinds.items()}
    return lambda: it.run(None, feed)


def timed(call):
    for _ in range(3):
        call()
    samples, start = [], time.perf_counter()
    while time.perf_counter() - start < BUDGET or len(samples) < LEAST:
        t = time.perf_counter()
        call()
        samples.append(time.perf_counter() - t)
    return float(np.median(samples) * 1e6)


def bench(a, artifact, *flags):
    out = subprocess.run([a.releqc, "bench", artifact, "--threads", "1", *flags], capture_output=True, text=True, check=True).stdout
    return out.strip().splitlines()[-1]


def measure(a, name, work):
    artifact = compiled(a, name, work)
    sample = feeds(a, name)[0]
    calls = {"ours": lambda: float(bench(a, artifact, "--median"))}
    row = {"name": name}
    for kind, path in (("float", lambda: a.networks / f"{name}.onnx"), ("int8", lambda: quantized(a, name, work))):
        try:
            call = session(path(), sample)
            calls[kind] = lambda call=call: timed(call)
        except Exception as e:
            row[f"no_{kind}"] = f"{type(e).__name__}: {e}".splitlines()[0][:200]
    seen = {kind: [] for kind in calls}
    for r in range(a.rounds):
        order = list(calls)
        for kind in order[r % len(order) :] + order[: r % len(order)]:
            seen[kind].append(calls[kind]())
    row |= {kind: round(float(np.median(times)), 1) for kind, times in seen.items()}
    for kind in ("float", "int8"):
        if kind in seen:
            row[f"{kind}_over_ours"] = round(float(np.median(np.array(seen[kind]) / np.array(seen["ours"]))), 2)
    report = json.loads(bench(a, artifact, "--json"))
    row["islands"] = round(report["island_share"], 3)
    if a.steps:
        slowest = sorted(report["layers"], key=lambda layer: -layer["share"])[: a.steps]
        row["steps"] = [{k: layer[k] for k in ("name", "op", "island", "median_us", "share", "macs")} for layer in slowest]
        kinds = {}
        for layer in report["layers"]:
            kinds[layer["op"], layer["island"]] = kinds.get((layer["op"], layer["island"]), 0) + layer["share"]
        row["kinds"] = {f"{op}{' (floats)' if island else ''}": round(s, 3) for (op, island), s in sorted(kinds.items(), key=lambda k: -k[1]) if s > 0.01}
    return row


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("releqc", type=Path)
    p.add_argument("networks", type=Path)
    p.add_argument("inputs", type=Path)
    p.add_argument("names", nargs="*")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--core", type=int)
    p.add_argument("--work", type=Path)
    p.add_argument("--steps", type=int, default=0)
    p.add_argument("--json", type=Path)
    p.add_argument("--markdown", type=Path)
    a = p.parse_intermixed_args()
    a.releqc = a.releqc.resolve()
    if a.core is not None:
        os.sched_setaffinity(0, {a.core})
    table = []
    with tempfile.TemporaryDirectory() as scratch:
        work = a.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        for name in a.names or NAMES.split():
            try:
                table.append(measure(a, name, work))
            except Exception as e:
                table.append({"name": name, "failed": f"{type(e).__name__}: {e}"[:300]})
            print(json.dumps(table[-1]), flush=True)
    if a.json:
        a.json.write_text(json.dumps(table, indent=1))
    if a.markdown:
        lines = ["| network | ours, us | float, us | int8, us | float / ours | int8 / ours | islands |", "|---|---|---|---|---|---|---|"]
        for r in table:
            if "failed" in r:
                lines.append(f"| {r['name']} | {r['failed'][:80]} | | | | | |")
            else:
                cells = [r.get(k, "") for k in ("ours", "float", "int8", "float_over_ours", "int8_over_ours")]
                lines.append(f"| {r['name']} | {' | '.join(map(str, cells))} | {100 * r['islands']:.0f} % |")
        a.markdown.write_text("\n".join(lines) + "\n")
    return 1 if any("failed" in r for r in table) else 0


if __name__ == "__main__":
    sys.exit(main())
