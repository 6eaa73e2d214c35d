#!/usr/bin/env python3
"""Compiles networks at 8 bits and compares the artifacts with onnxruntime in float.

    measure.py RELEQC NETWORKS INPUTS [--bits 8] [--calibrate] [--markdown FILE] [NAME ..]

NETWORKS holds NAME.onnx, INPUTS holds NAME.npz with x0, x1, .. and y0, y1, .. (a leading axis of samples before the extents
of the network) and, for --calibrate, NAME.calibration.npz with x0, x1, .. alone. Without --calibrate the range of each input is
that of its samples, stated by --input-range.

For each network: seconds and peak memory of compiling, whether the CPU kernels, the reference and the accelerator's simulator
give the same bytes, and the signal-to-noise ratio of the worst output. Needs numpy and onnx. Exits 1 where a network that
compiles has different bytes.
"""
import argparse, json, os, re, subprocess, sys, tempfile, time
from pathlib import Path

import numpy as np
import onnx


def run(args, timeout=300):
    """Exit code, stdout, stderr, peak MB, seconds."""
    start = time.time()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        p = subprocess.Popen([str(a) for a in args], stdout=out, stderr=err)
        while True:
            pid, status, use = os.wait4(p.pid, os.WNOHANG)
            if pid:
                break
            if time.time() - start > timeout:
                p.kill()
                pid, status, use = os.wait4(p.pid, 0)
                status = None
                break
            time.sleep(0.01)
        p.returncode = 0
        out.seek(0), err.seek(0)
        code = "timeout" if status is None else os.waitstatus_to_exitcode(status)
        return code, out.read().decode(errors="replace"), err.read().decode(errors="replace"), use.ru_maxrss / 1024, time.time() - start


def decibel(want, got):
    a, b = want.astype(np.float64).ravel(), got.astype(np.float64).ravel()
    if not np.isfinite(b).all():
        return float("-inf")
    error, signal = ((a - b) ** 2).sum(), (a**2).sum()
    return float("inf") if error == 0 else float("-inf") if signal == 0 else float(10 * np.log10(signal / error))


def rows(x, batch=1):
    """Samples as the command line takes them: a batch axis of 1, or one that the compiler takes as 1, joins the samples."""
    if batch > 1:
        return x.reshape(-1, *x.shape[2:])
    return x[:, 0] if x.ndim > 1 and x.shape[1] == 1 else x


def fixed_batch(model):
    """The batch that all inputs and outputs of a file are fixed to, which the compiler takes as 1; else 1."""
    shapes = [value.type.tensor_type.shape.dim for value in [*inputs_of(model), *model.graph.output]]
    extents = {dims[0].dim_value if len(dims) > 1 else 1 for dims in shapes}
    return max(1, extents.pop()) if len(extents) == 1 else 1


def some(x, most=1024):
    """At most so many samples, spread evenly."""
    return x[:: max(1, -(-len(x) // most))]


def inputs_of(model):
    constants = {t.name for t in model.graph.initializer}
    return [i for i in model.graph.input if i.name not in constants]


def shape_flags(inputs, arrays):
    flags = []
    for value, x in zip(inputs, arrays):
        dims = value.type.tensor_type.shape.dim
        open_axes = [k for k, d in enumerate(dims) if d.WhichOneof("value") != "dim_value" or d.dim_value < 1]
        if [k for k in open_axes if k > 0]:
            flags += ["--shape", f"{value.name}={','.join(map(str, x.shape[1:]))}"]
    return flags


def last(text):
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return re.sub(r"^error: ", "", lines[-1])[:150] if lines else ""


def measure(a, name, work):
    path, z = a.networks / f"{name}.onnx", np.load(a.inputs / f"{name}.npz")
    model = onnx.load(path, load_external_data=False)
    inputs, batch = inputs_of(model), fixed_batch(model)
    xs = [z[f"x{k}"] for k in range(len(inputs))]
    ys = [z[k] for k in sorted((k for k in z.files if k[0] == "y"), key=lambda k: int(k[1:]))]
    flags = shape_flags(inputs, xs)
    if a.calibrate and (a.inputs / f"{name}.calibration.npz").exists():
        c = np.load(a.inputs / f"{name}.calibration.npz")
        names = ["x"] if len(inputs) == 1 else [value.name for value in inputs]
        np.savez(work / "data.npz", **{n: some(rows(c[f"x{k}"], batch)) for k, n in enumerate(names)})
        flags += ["--data", work / "data.npz"]
    else:
        for value, x in zip(inputs, xs):
            if x.dtype.kind == "f":
                low, high = float(x.min()), float(x.max())
                # A range of one value is refused; zero is a code of every range.
                low, high = (low, high) if low < high else (min(low, 0.0), max(high, 0.0))
                flags += ["--input-range", f"{value.name}={low!r}:{high!r}"] if low < high else []
    artifact = work / "a.rq"
    code, out, err, mb, seconds = run([a.releqc, path, "--bits", a.bits, "-o", artifact, "--threads", 1, "--json", *flags])
    row = {"name": name, "seconds": round(seconds, 1), "mb": round(mb), "code": code}
    if code not in (0, 4):
        try:
            text = json.loads(out.strip().splitlines()[-1])
            row["refused"] = text.get("error", "")[:400] or last(err)
            row["findings"] = [f'{f.get("node")}: {f.get("problem")}'[:160] for f in text.get("findings", [])][:6]
        except Exception:
            row["refused"] = last(err) or last(out)
        return row
    got = {}
    for executor in ("cpu", "reference", "accelerator"):
        args = []
        for k, (value, x) in enumerate(zip(inputs, xs)):
            np.save(work / f"x{k}.npy", rows(x, batch))
            args += ["--input", f"{value.name}={work}/x{k}.npy"]
        code, out, err, _, s = run([a.releqc, "run", artifact, *args, "--output", work / f"y.{executor}.npy", "--executor", executor, "--threads", 1, "--json"])
        if code:
            row["refused"] = f"run, {executor}: exit {code}: {last(err) or last(out)}"
            return row
        got[executor] = [np.load(work / o["file"]) for o in json.loads(out.strip().splitlines()[-1])["outputs"]]
        row[f"{executor}_seconds"] = round(s, 2)
    row["equal"] = all(x.tobytes() == y.tobytes() for other in ("reference", "accelerator") for x, y in zip(got["cpu"], got[other]))
    row["db"] = [round(decibel(y, g), 1) if y.size == g.size else f"{list(g.shape)} for {list(y.shape)}" for y, g in zip(ys, got["cpu"])]
    if len(got["cpu"]) != len(ys):
        row["refused"] = f"{len(got['cpu'])} outputs, {len(ys)} are right"
    return row


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("releqc", type=Path)
    p.add_argument("networks", type=Path)
    p.add_argument("inputs", type=Path)
    p.add_argument("names", nargs="*")
    p.add_argument("--bits", type=int, default=8)
    p.add_argument("--calibrate", action="store_true")
    p.add_argument("--json", type=Path)
    p.add_argument("--markdown", type=Path)
    a = p.parse_intermixed_args()
    names = a.names or sorted(f.stem for f in a.networks.glob("*.onnx") if (a.inputs / f"{f.stem}.npz").exists())
    table, differ = [], 0
    for name in names:
        with tempfile.TemporaryDirectory() as work:
            try:
                row = measure(a, name, Path(work))
            except Exception as e:
                row = {"name": name, "refused": f"{type(e).__name__}: {e}"[:200]}
        table.append(row)
        differ += row.get("equal") is False
        said = row.get("refused") or f"{min((d for d in row['db'] if not isinstance(d, str)), default='shapes differ')} dB, bytes {'equal' if row['equal'] else 'DIFFER'}"
        print(f"{name}: {said}  [{row.get('seconds')} s, {row.get('mb')} MB]", *row.get("findings", []), sep="\n    ", flush=True)
    done = [r for r in table if "refused" not in r]
    print(f"{len(done)} of {len(table)} compile and run; {differ} with different bytes")
    if a.json:
        a.json.write_text(json.dumps(table, indent=1, default=str))
    if a.markdown:
        lines = ["| network | worst output, dB | bytes of the executors | compile, s | peak, MB |", "|---|---|---|---|---|"]
        for r in table:
            if "refused" in r:
                lines.append(f"| {r['name']} | refused: {r['refused'].split(': ', 1)[-1][:90]} | | {r.get('seconds', '')} | {r.get('mb', '')} |")
            else:
                worst = min((d for d in r["db"] if not isinstance(d, str)), default="shapes differ")
                lines.append(f"| {r['name']} | {worst} | {'equal' if r['equal'] else 'differ'} | {r['seconds']} | {r['mb']} |")
        a.markdown.write_text("\n".join(lines) + "\n")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
