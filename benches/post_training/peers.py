#!/usr/bin/env python3
"""Other tools' quantization without retraining, on the same samples and test images as ours.

    peers.py SHARED WORK [--bits 8] [--only onnxruntime|aimet|mct] [NAME ..]

onnxruntime quantizes statically to 8 bits (QDQ, each channel, every calibration method that it has;
the best is shown). aimet-onnx (AdaRound) takes --bits. model-compression-toolkit reads PyTorch and
Keras networks, not ONNX. What is not installed is said to be so. All see 256 samples of the
training part without labels, and are measured with onnxruntime on the test part. aimet-onnx in an environment of its own: `pip install onnx onnxruntime numpy aimet-onnx`.
"""
import argparse
import gzip
import importlib.util
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

from keyword_spotting import SCALE, ZERO_POINT, idx

MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)
STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)
NETWORKS = {
    "cifar10_resnet20_convsc": lambda pixels: (pixels / 255 - MEAN) / STD,
    "cifar10_mlperftiny_resnet8": lambda pixels: pixels,
    "cifar10_simplenet5": lambda pixels: (pixels / 255 - 0.5) / 0.5,
    "kws_mlperftiny_dscnn": None,
}
SAMPLES = 256


def cifar(path):
    records = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8).reshape(-1, 3073)
    return records[:, 1:].reshape(-1, 3, 32, 32).astype(np.float32), records[:, 0]


def data(shared, name):
    """Samples to calibrate on, samples to test on, their labels."""
    prepare = NETWORKS[name]
    if prepare is None:
        folder = shared / "data/kws01"
        x = (idx(folder / "kws01-500-inputs.idx.gz").astype(np.float32) - ZERO_POINT) * SCALE
        y = idx(folder / "kws01-500-labels.idx.gz")
        return x[0::2], x[1::2], y[1::2]
    folder = shared / "data/cifar10"
    train = np.concatenate([cifar(p)[0] for p in sorted(folder.glob("train_*.bin.gz"))])
    test, labels = cifar(folder / "test_5000.bin.gz")
    spread = np.arange(SAMPLES) * len(train) // SAMPLES
    return prepare(train[spread]), prepare(test), labels


def session(model):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def top1(run, x, y, name, batch):
    right = 0
    for at in range(0, len(x), batch):
        right += (run.run(None, {name: x[at : at + batch]})[0].argmax(-1).reshape(-1) == y[at : at + batch]).sum()
    return 100 * right / len(x)


def onnxruntime(model, work, name, samples, test):
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
    from onnxruntime.quantization import quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.rest = iter(samples)

        def get_next(self):
            sample = next(self.rest, None)
            return None if sample is None else {name: sample[None]}

    prepared = work / "prepared.onnx"
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    best = None
    for method in CalibrationMethod:
        out = work / f"{method.name}.onnx"
        try:
            quantize_static(
                str(prepared), str(out), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, calibrate_method=method,
            )
            accuracy = test(session(str(out)))
        except Exception as error:  # A method that refuses a network does not end the comparison.
            print(f"    {method.name}: {type(error).__name__}: {str(error).splitlines()[0][:100]}", flush=True)
            continue
        print(f"    {method.name}: {accuracy:.2f} %", flush=True)
        best = max(accuracy, best or 0)
    return best


def aimet(model, work, name, samples, test, bits):
    import aimet_onnx
    import onnx
    from aimet_onnx.quantsim import QuantizationSimModel

    graph = onnx.load(model)
    inputs = [{name: sample[None]} for sample in samples]
    sim = QuantizationSimModel(graph, param_type=f"int{bits}", activation_type="int8")
    aimet_onnx.apply_adaround(sim, inputs)
    sim.compute_encodings(inputs)
    return test(sim.session)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--only", choices=["onnxruntime", "aimet", "mct"])
    a = parser.parse_intermixed_args()
    a.work.mkdir(parents=True, exist_ok=True)
    tools = [a.only] if a.only else ["onnxruntime", "aimet", "mct"]
    for tool, package in [("aimet", "aimet_onnx"), ("mct", "model_compression_toolkit")]:
        if tool in tools and importlib.util.find_spec(package) is None:
            print(f"{package}: not installed here")
            tools.remove(tool)
    if "mct" in tools:
        # It reads PyTorch and Keras networks; these are ONNX files whose source is not here.
        print("model_compression_toolkit: reads no ONNX")
        tools.remove("mct")
    for model_name in a.names or NETWORKS:
        model = a.shared / "models" / f"{model_name}.onnx"
        samples, x, y = data(a.shared, model_name)
        float_session = session(str(model))
        port = float_session.get_inputs()[0]
        batch = 1 if isinstance(port.shape[0], int) else 100
        def test(run):
            return top1(run, x, y, port.name, batch)
        print(f"{model_name}: float {test(float_session):.2f} % of {len(x)}", flush=True)
        for tool in tools:
            start = time.monotonic()
            if tool == "onnxruntime":
                accuracy, bits = onnxruntime(model, a.work, port.name, samples, test), 8
            else:
                accuracy, bits = aimet(model, a.work, port.name, samples, test, a.bits), a.bits
            shown = "refused" if accuracy is None else f"{accuracy:.2f} %"
            print(f"  {tool}, {bits} bits: {shown}, {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
