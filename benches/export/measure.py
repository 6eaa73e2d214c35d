#!/usr/bin/env python3
"""Exports artifacts and runs them in other engines, beside `releqc run`.

    measure.py RELEQC SHARED [--engine onnxruntime|openvino|qonnx] [--int4] [--rows N] [--inputs DIR] [NAME ..]

SHARED holds models/ and data/ (see docs/export.md). Each network is compiled with widths from 3 to 8
bits, exported, and run on the same inputs by both. A row of the table says:

top-1     of releqc and of the engine, on labelled test samples; else how often the largest output is
          the same one
within 1  share of output values that differ by at most one code; a code is the scale of the output,
          or a 255th of its range where it comes straight from sums
largest   greatest difference in codes

--inputs DIR also measures networks of SHARED/models/real, with DIR/NAME.npz as its inputs.py makes
them. Exits 1 where top-1 differs by more than 0.1 points or fewer than 99.9 % are within one code.
Needs numpy, onnx, pillow and the engine.
"""
import argparse, gzip, json, subprocess, sys, tempfile, time
from pathlib import Path

import numpy as np
import onnx

F = np.float32
WIDTHS = [8, 5, 4, 6, 3, 7]


# ---- inputs ------------------------------------------------------------------------------------


def idx(path):
    raw = gzip.open(path).read()
    kind, axes = raw[2], raw[3]
    dims = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(axes)]
    return np.frombuffer(raw, {8: np.uint8, 9: np.int8}[kind], offset=4 + 4 * axes).reshape(dims)


def mnist(shared, mean, std, scale):
    folder = shared / "data/mnist"
    x = idx(folder / "t10k-first5000-images-idx3-ubyte.gz")[:, None].astype(F)
    return (x / scale - F(mean)) / F(std), idx(folder / "t10k-first5000-labels-idx1-ubyte.gz")


def cifar(shared, mean, std, scale):
    raw = gzip.open(shared / "data/cifar10/test_5000.bin.gz").read()
    raw = np.frombuffer(raw, np.uint8).reshape(-1, 3073)
    x = raw[:, 1:].reshape(-1, 3, 32, 32).astype(F)
    shaped = lambda v: np.array(v, F).reshape(-1, 1, 1)
    return (x / scale - shaped(mean)) / shaped(std), raw[:, 0]


def keywords(shared):
    folder = shared / "data/kws01"
    x = (idx(folder / "kws01-500-inputs.idx.gz").astype(F) - 83) * F(0.5847029)
    return x, idx(folder / "kws01-500-labels.idx.gz")


def pictures(shared, side, rows=200):
    """Crops of photographs, x / 127.5 - 1; no labels."""
    from PIL import Image

    draw = np.random.default_rng(1)
    photos = sorted((shared / "models/real/images").glob("*.jpg"))
    photos = [Image.open(path).convert("RGB") for path in photos]
    crops = []
    for k in range(rows):
        photo = photos[k % len(photos)]
        size = int(min(photo.size) * draw.uniform(0.4, 1))
        x, y = (int(draw.uniform(0, extent - size + 1)) for extent in photo.size)
        crop = photo.crop((x, y, x + size, y + size)).resize((side, side), Image.BILINEAR)
        crops.append(np.asarray(crop, F).transpose(2, 0, 1) / F(127.5) - 1)
    return np.stack(crops), None


def spectra(rows=500):
    """Walks as smooth as log-mel frames; no labels."""
    draw = np.random.default_rng(2)
    return (np.cumsum(draw.normal(size=(rows, 640)), axis=1) / 8 - 20).astype(F), None


NETWORKS = {
    "mnist_lenet5_sakgoyal": lambda s: mnist(s, 0, 1, 1),
    "mnist_burn_conv3": lambda s: mnist(s, 0.1307, 0.3081, 255),
    "cifar10_simplenet5": lambda s: cifar(s, [0.5] * 3, [0.5] * 3, 255),
    "cifar10_resnet20": lambda s: cifar(s, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 255),
    "cifar10_mlperftiny_resnet8": lambda s: cifar(s, [0] * 3, [1] * 3, 1),
    "kws_mlperftiny_dscnn": keywords,
    "imagenet_mobilenet_v1_025_224": lambda s: pictures(s, 224),
    "vww_mlperftiny_mobilenet_v1_025_96_bn": lambda s: pictures(s, 96),
    "ad_mlperftiny_autoencoder": lambda s: spectra(),
}


# ---- engines -----------------------------------------------------------------------------------


def onnxruntime(path, feeds, **options):
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.log_severity_level = 3
    # Without VNNI, products of u8 and i8 saturate in pairs unless this is asked for.
    settings.add_session_config_entry("session.x64quantprecision", "1")
    for key, value in options.items():
        settings.add_session_config_entry(key, value)
    session = ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    return [session.run(None, feed) for feed in feeds]


def onnxruntime_float(path, feeds):
    return onnxruntime(path, feeds, **{"session.disable_quant_qdq": "1"})


def openvino(path, feeds):
    import openvino as ov

    core = ov.Core()
    model = core.compile_model(core.read_model(str(path)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [[model(feed)[i] for i in range(len(model.outputs))] for feed in feeds]


def qonnx(path, feeds):
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    model = ModelWrapper(str(path)).transform(InferShapes())
    names = [output.name for output in model.graph.output]
    results = []
    for feed in feeds:
        found = execute_onnx(model, feed)
        results.append([found[name] for name in names])
    return results


ENGINES = {
    "onnxruntime": onnxruntime,
    "onnxruntime-float": onnxruntime_float,
    "openvino": openvino,
    "qonnx": qonnx,
}


# ---- a network ---------------------------------------------------------------------------------


def call(args):
    done = subprocess.run([str(arg) for arg in args], capture_output=True, text=True)
    if done.returncode not in (0, 4):
        raise RuntimeError((done.stderr or done.stdout).strip().splitlines()[-1])
    return done.stdout


def measure(args, name, model, arrays, labels, shapes=()):
    """`arrays` are one an input, samples first."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        graph = onnx.load(str(model)).graph
        constants = {tensor.name for tensor in graph.initializer}
        inputs = [value for value in graph.input if value.name not in constants]
        flags, calibration = [], []
        for value, array in zip(inputs, arrays):
            np.save(folder / f"{len(flags)}.npy", array)
            np.save(folder / f"c{len(flags)}.npy", array[:: max(1, len(array) // 64)][:64])
            calibration += ["--data", f"{value.name}={folder}/c{len(flags)}.npy"]
            flags.append(f"{value.name}={folder}/{len(flags)}.npy")
        artifact, exported = folder / "m.rq", folder / "m.onnx"
        compiling = [args.releqc, model, "-o", artifact, "--quiet", *calibration, *shapes]
        call([*compiling, "--bits", 8])
        layers = len(json.loads(call([args.releqc, "inspect", artifact, "--json"]))["layers"])
        widths = [WIDTHS[i % len(WIDTHS)] for i in range(layers)]
        widths[-1] = 8
        call([*compiling, "--bits", ",".join(map(str, widths))])
        export = ["--format", "qonnx"] if args.engine == "qonnx" else ["--int4"] if args.int4 else []
        call([args.releqc, "export", artifact, "-o", exported, "--quiet", *export])
        given = [flag for pair in (("--input", flag) for flag in flags) for flag in pair]
        start = time.time()
        call([args.releqc, "run", artifact, *given, "--output", folder / "y.npy", "--quiet"])
        seconds = time.time() - start
        proto = onnx.load(str(exported))
        onnx.checker.check_model(proto, full_check=args.engine != "qonnx")
        outputs = [value.name for value in proto.graph.output]
        assert [value.name for value in proto.graph.input] == [value.name for value in inputs], "input names"
        assert outputs == [value.name for value in graph.output][: len(outputs)], "output names"
        own = [np.load(folder / "y.npy")]
        for name_ in outputs[1:]:
            safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in name_)
            own.append(np.load(folder / f"y.{safe}.npy"))
        dims = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in proto.graph.input]
        types = [onnx.helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type) for v in proto.graph.input]
        rows = min(len(arrays[0]), args.rows)
        feeds = [
            {v.name: array[i].reshape(d).astype(t) for v, array, d, t in zip(inputs, arrays, dims, types)}
            for i in range(rows)
        ]
        found = ENGINES[args.engine](exported, feeds)
        within, count, largest = 0, 0, 0.0
        for i, want in enumerate(own):
            want = want.reshape(len(want), -1)[:rows].astype(np.float64)
            got = np.stack([np.asarray(result[i], np.float64).ravel() for result in found])
            step = scale_of(proto, outputs[i]) or (want.max() - want.min()) / 255 or 1
            codes = np.abs(got - want) / step
            # A difference of one code is one scale, up to the rounding of floats.
            within, count = within + (codes <= 1.001).sum(), count + codes.size
            largest = max(largest, float(codes.max()))
        best = own[0].reshape(len(own[0]), -1)[:rows].argmax(1)
        theirs = np.stack([np.asarray(result[0]).ravel() for result in found]).argmax(1)
        if labels is not None:
            hits = [100 * float((answer == labels[:rows]).mean()) for answer in (best, theirs)]
            tops, gap = f"{hits[0]:.2f} / {hits[1]:.2f}", abs(hits[0] - hits[1])
        else:
            same = 100 * float((best == theirs).mean())
            tops, gap = f"same: {same:.2f}", 0.0
        share = 100 * within / count
        good = gap <= 0.1 and share >= 99.9
        print(
            f"| {name} | {rows} | {tops} | {share:.3f} | {largest:.2f} | {exported.stat().st_size:,} |"
            + ("" if good else " MISSED"),
            flush=True,
        )
        return good


def scale_of(proto, output):
    """The scale of an output that is dequantized."""
    made = {name: node for node in proto.graph.node for name in node.output}
    node = made.get(output)
    while node is not None and node.op_type in ("Reshape", "Transpose", "Identity"):
        node = made.get(node.input[0])
    if node is None or node.op_type not in ("DequantizeLinear", "Quant"):
        return None
    for tensor in proto.graph.initializer:
        if tensor.name == node.input[1]:
            return float(onnx.numpy_helper.to_array(tensor).max())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releqc", type=Path)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--engine", choices=ENGINES, default="onnxruntime")
    parser.add_argument("--int4", action="store_true")
    parser.add_argument("--rows", type=int, default=10**9)
    parser.add_argument("--inputs", type=Path)
    parser.add_argument("names", nargs="*")
    args = parser.parse_intermixed_args()
    print(f"| {args.engine} | rows | top-1 | within 1 % | largest | bytes |\n|---|---|---|---|---|---|")
    good = True
    for name, samples in NETWORKS.items():
        if args.names and name not in args.names:
            continue
        try:
            x, labels = samples(args.shared)
            good &= measure(args, name, args.shared / f"models/{name}.onnx", [x], labels)
        except Exception as error:
            good = False
            print(f"| {name} | failed: {str(error)[:400]} |", flush=True)
    for path in sorted(args.inputs.glob("*.npz")) if args.inputs else []:
        name = path.stem
        if name.endswith(".calibration") or args.names and name not in args.names:
            continue
        try:
            held = np.load(path)
            arrays = [held[f"x{i}"] for i in range(sum(key.startswith("x") for key in held.files))]
            model = args.shared / f"models/real/{name}.onnx"
            graph = onnx.load(str(model), load_external_data=False).graph
            shapes = []
            for value, array in zip(graph.input, arrays):
                open_ = [d.dim_value <= 0 for d in value.type.tensor_type.shape.dim]
                if any(open_[1:]):
                    shapes += ["--shape", f"{value.name}={','.join(map(str, array.shape[1:]))}"]
            rows = [a[:, 0] if a.ndim > 1 and a.shape[1] == 1 else a for a in arrays]
            good &= measure(args, name, model, rows, None, shapes)
        except Exception as error:
            good = False
            print(f"| {name} | failed: {str(error)[:400]} |", flush=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
