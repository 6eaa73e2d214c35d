"""Writes the tests of the `onnx` wheel as cases that `cargo run --example node_cases` reads.

    python3 make_cases.py OUT [NAME ..]

A case is a folder OUT/NAME with `case.json` and `data.bin` (f32, little endian). The tests hand over every operand as an
input of the model, while a network has axes, shapes and weights as constants; so each case has several models, of which the
first that is accepted counts: all operands inputs; integer and bool operands behind the first constants; all operands
behind the first constants; last, all operands constants, and every result added to an input of zeros.
Where an older version of an operator keeps a constant operand as an attribute, the test is also written in that version; and
every test is written a second time with the oldest opset from 7 on in which its operators have the same version.

The models that lie in the wheel with their data (simple, pytorch-converted, pytorch-operator) are cases as they are. Every
other model of the wheel, and every test whose data are no tensors of numbers, goes to OUT/files: it is only imported.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, defs, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.loader import DATA_DIR, load_model_tests

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
    inputs = operands(model)
    kept = []
    del graph.input[:]
    for index, (value, array) in enumerate(zip(inputs, arrays)):
        if keep(index, array):
            graph.input.append(value)
            kept.append(index)
        else:
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), value.name))
    return model, kept


def operands(model):
    """The inputs of a model that are no initialisers."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


def all_constant(model, arrays, results):
    """The model with every operand an initialiser and zeros, an input, added to every result; None where one is empty."""
    if any(np.asarray(result).size == 0 for result in results):
        return None, []
    model, _ = frozen(model, arrays, lambda index, array: False)
    graph = model.graph
    outputs, zeros = list(graph.output), []
    del graph.output[:]
    for index, (value, result) in enumerate(zip(outputs, results)):
        dims = list(np.asarray(result).shape)
        names = [f"releqc_{what}_{index}" for what in ("float", "zeros", "sum")]
        graph.node.append(helper.make_node("Cast", [value.name], [names[0]], to=TensorProto.FLOAT))
        graph.node.append(helper.make_node("Add", names[:2], [names[2]]))
        graph.input.append(helper.make_tensor_value_info(names[1], TensorProto.FLOAT, dims))
        graph.output.append(helper.make_tensor_value_info(names[2], TensorProto.FLOAT, dims))
        zeros.append({"name": names[1], "dims": dims})
    return model, zeros


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
                # An attribute of a float operator is a float, and k is an integer.
                if array.size != 1 or (name != "k" and array.dtype.kind != "f"):
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
    variant, zeros = all_constant(model, arrays, outputs)
    if variant is not None:
        (folder / "constant.onnx").write_bytes(variant.SerializeToString())
        variants.append({"file": "constant.onnx", "inputs": [], "zeros": zeros})
    graph = model.graph
    text = {
        "operators": sorted({node.op_type for node in graph.node}),
        "opset": model.opset_import[0].version,
        "inputs": [{"name": v.name, "dims": list(a.shape)} for v, a in zip(operands(model), arrays)],
        "outputs": [{"name": v.name, "dims": list(a.shape)} for v, a in zip(graph.output, outputs)],
        "rtol": max([case.rtol, *(ROUNDING.get(a.dtype.name, 0) for a in [*arrays, *outputs])]),
        "atol": max(case.atol, 1e-5),
        "models": variants,
    }
    (folder / "case.json").write_text(json.dumps(text))


def read_tensors(folder, what):
    """The tensors `what`_0.pb, `what`_1.pb .. of a folder; raises where one is no tensor."""
    arrays = []
    while (path := folder / f"{what}_{len(arrays)}.pb").exists():
        tensor = TensorProto.FromString(path.read_bytes())
        if not tensor.data_type:
            raise ValueError("no tensor")
        arrays.append(numpy_helper.to_array(tensor))
    return arrays


def write_stored(out, wanted, skipped):
    """The models that lie in the wheel with their data; returns how many became cases."""
    written = 0
    for kind in ("simple", "pytorch-converted", "pytorch-operator"):
        for case in sorted(load_model_tests(kind=kind), key=lambda case: case.name):
            if case.model_dir is None or (wanted and case.name not in wanted):
                continue
            folder = pathlib.Path(case.model_dir)
            model = onnx.load(folder / "model.onnx")
            try:
                arrays = read_tensors(folder / "test_data_set_0", "input")
                results = read_tensors(folder / "test_data_set_0", "output")
                why = tensors(arrays)[1] or tensors(results)[1]
                if len(arrays) != len(operands(model)) or len(results) != len(model.graph.output):
                    why = "not as many data as inputs and outputs"
            except Exception as error:
                why = f"{type(error).__name__} of its data"
            if why:
                skipped[case.name] = why
                continue
            write(out, case.name, model, arrays, results, case)
            written += 1
    return written


def write_files(out, skipped):
    """Every model of the wheel that is no case."""
    files = out / "files"
    files.mkdir(parents=True, exist_ok=True)
    for path in sorted(pathlib.Path(DATA_DIR).rglob("*.onnx")):
        parts = path.relative_to(DATA_DIR).parts
        (files / "__".join(parts)).write_bytes(path.read_bytes())
    for case in collect_testcases():
        if case.name in skipped and case.model is not None:
            (files / f"{case.name}.onnx").write_bytes(case.model.SerializeToString())


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
    written += write_stored(out, wanted, skipped)
    if not wanted:
        write_files(out, skipped)
    (out / "skipped.json").write_text(json.dumps(skipped, indent=1, sort_keys=True))
    print(f"{written} cases, {len(skipped)} tests without tensors of numbers")


if __name__ == "__main__":
    main()
