"""Writes the node tests of the `onnx` wheel as cases that `cargo run --example node_cases` reads.

    python3 make_cases.py OUT [NAME ..]

A case is a folder OUT/NAME with `case.json` and `data.bin` (f32, little endian). The tests hand over every operand as an input of the
model, while a network has axes, shapes and weights as constants; so each case has several models, of which the first that is
accepted counts: all operands inputs; integer and bool operands behind the first constants; all operands behind the first constants.
Where an older version of an operator keeps a constant operand as an attribute, the test is also written in that version; and every
test is written a second time with the oldest opset from 7 on in which its operators have the same version.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases

# Operator, opset below which these operands are attributes, {operand: attribute}, opset to write.
REDUCTIONS = [
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSumSquare",
]  # fmt: skip
ATTRIBUTES = {name: ({1: "axes"}, 13) for name in REDUCTIONS} | {
    "ReduceSum": ({1: "axes"}, 11),
    "Squeeze": ({1: "axes"}, 11),
    "Unsqueeze": ({1: "axes"}, 11),
    "Split": ({1: "split"}, 11),
    "Slice": ({1: "starts", 2: "ends", 3: "axes"}, 9),
    "Pad": ({1: "pads", 2: "value"}, 10),
    "Clip": ({1: "min", 2: "max"}, 10),
    "TopK": ({1: "k"}, 9),
    "Upsample": ({1: "scales"}, 7),
    "Dropout": ({1: "ratio"}, 10),
}
# Half a unit in the last place of the short floats, some roundings of them: here everything is f32.
ROUNDING = {"float16": 2e-3, "bfloat16": 1.6e-2}
SCALARS = {"value", "min", "max", "k", "ratio"}


def tensors(values):
    """The operands as arrays; a reason where one is no tensor of numbers."""
    arrays = []
    for value in values:
        if not isinstance(value, np.ndarray) and not np.isscalar(value):
            return None, f"an operand of type {type(value).__name__}"
        array = np.asarray(value)
        if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
            return None, f"an operand of {array.dtype}"
        arrays.append(array)
    return arrays, None


def frozen(model, arrays, keep):
    """The model with the inputs that `keep` refuses as initialisers, and the indices of those that stay."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    inputs = list(graph.input)
    kept = []
    del graph.input[:]
    for index, (value, array) in enumerate(zip(inputs, arrays)):
        if keep(index, array):
            graph.input.append(value)
            kept.append(index)
        else:
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), value.name))
    return model, kept


def as_attributes(model, arrays):
    """The model in the version that keeps operands as attributes; None where there is none or the test uses newer attributes."""
    node = model.graph.node[0]
    if len(model.graph.node) != 1 or node.op_type not in ATTRIBUTES or node.domain:
        return None
    operands, opset = ATTRIBUTES[node.op_type]
    schema = defs.get_schema(node.op_type, opset, "")
    if any(attribute.name not in schema.attributes for attribute in node.attribute):
        return None
    model = onnx.ModelProto.FromString(model.SerializeToString())
    node = model.graph.node[0]
    names = [value.name for value in model.graph.input]
    for index, name in operands.items():
        if index < len(node.input) and node.input[index]:
            array = arrays[names.index(node.input[index])]
            if array.size == 0:
                return None
            if name in SCALARS:
                if array.size != 1:
                    return None
                node.attribute.append(helper.make_attribute(name, array.reshape(()).item()))
            else:
                node.attribute.append(helper.make_attribute(name, array.reshape(-1).tolist()))
    if len(node.input) > 1 + len(operands) or (node.op_type == "Slice" and len(node.input) > 4):
        return None
    del node.input[1:]
    del model.graph.input[1:]
    model.opset_import[0].version = opset
    return model


def oldest(model):
    """The oldest opset from 7 on in which every operator of the model has the same version."""
    version = model.opset_import[0].version
    try:
        since = [defs.get_schema(n.op_type, version, n.domain).since_version for n in model.graph.node if not n.domain]
    except Exception:
        return version
    return max([7, *since])


def write(folder, name, model, arrays, outputs, case):
    folder = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    data = [np.asarray(a).astype(np.float32).reshape(-1) for a in [*arrays, *outputs]]
    (folder / "data.bin").write_bytes(np.concatenate(data).astype("<f4").tobytes() if data else b"")
    variants = []
    keeps = [
        lambda i, a: True,
        lambda i, a: i == 0 or a.dtype.kind not in "iub",
        lambda i, a: i == 0,
        lambda i, a: a.dtype.kind == "f" and a.ndim > 0,
        lambda i, a: i == len(arrays) - 1,
    ]
    for keep in keeps:
        variant, kept = frozen(model, arrays, keep)
        if not kept or kept in [v["inputs"] for v in variants]:
            continue
        file = f"model_{len(variants)}.onnx"
        (folder / file).write_bytes(variant.SerializeToString())
        variants.append({"file": file, "inputs": kept})
    graph = model.graph
    text = {
        "operators": sorted({node.op_type for node in graph.node}),
        "opset": model.opset_import[0].version,
        "inputs": [{"name": v.name, "dims": list(a.shape)} for v, a in zip(graph.input, arrays)],
        "outputs": [{"name": v.name, "dims": list(a.shape)} for v, a in zip(graph.output, outputs)],
        "rtol": max([case.rtol, *(ROUNDING.get(a.dtype.name, 0) for a in [*arrays, *outputs])]),
        "atol": max(case.atol, 1e-5),
        "models": variants,
    }
    (folder / "case.json").write_text(json.dumps(text))


def main():
    out = pathlib.Path(sys.argv[1])
    wanted = set(sys.argv[2:])
    skipped = {}
    written = 0
    for case in collect_testcases():
        if wanted and case.name not in wanted:
            continue
        if not case.data_sets or case.model is None:
            skipped[case.name] = "no data beside the test"
            continue
        inputs, outputs = case.data_sets[0]
        arrays, why = tensors(inputs)
        results, why_not = tensors(outputs)
        if why or why_not:
            skipped[case.name] = why or why_not
            continue
        model = case.model
        write(out, case.name, model, arrays, results, case)
        written += 1
        opset = oldest(model)
        if opset < model.opset_import[0].version:
            older = onnx.ModelProto.FromString(model.SerializeToString())
            older.opset_import[0].version = opset
            write(out, f"{case.name}@{opset}", older, arrays, results, case)
            written += 1
        attributes = as_attributes(model, arrays)
        if attributes is not None:
            opset = attributes.opset_import[0].version
            write(out, f"{case.name}@{opset}", attributes, arrays[:1], results[: len(attributes.graph.output)], case)
            written += 1
    (out / "skipped.json").write_text(json.dumps(skipped, indent=1, sort_keys=True))
    print(f"{written} cases, {len(skipped)} tests without tensors of numbers")


if __name__ == "__main__":
    main()
