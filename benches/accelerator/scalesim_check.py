#!/usr/bin/env python3
"""The bit-parallel 8-bit baseline beside SCALE-Sim 3.0.0 (PyPI `scalesim`, MIT): 20 layers on an array of 16 x 16 multipliers.

    scalesim_check.py RELEQC FOLDER        FOLDER as of measure.py

SCALE-Sim runs the output-stationary dataflow: a fold is 16 positions x 16 filters and takes the depth of a filter, as a block does
here. Compared: cycles of all folds without filling and draining the array, the share of multipliers that a fold uses, words of
weights from DRAM, and words of tensors. Prints a table in Markdown and exits 1 where cycles differ by more than 5 %, or weights do
and no rule of the notes explains it. Needs numpy before 2.0, onnx and scalesim; takes five minutes.
"""
import contextlib
import io
import math
import sys
import tempfile
from pathlib import Path

from scalesim.layout_utils import layouts
from scalesim.scale_config import scale_config
from scalesim.single_layer_sim import single_layer_sim
from scalesim.topology_utils import topologies

from measure import Bench, table
from networks import PAPER

SIZE = 16
# Networks, and which of their layers.
CHOSEN = {"LeNet": range(4), "SimpleNet": range(5), "VGG-11": range(9), "ResNet-20": [9, 16]}


class Recorder:
    """Shapes of the layers of a network, by running its builder."""

    def __init__(self, make):
        net = make()
        shapes = {"input": tuple(net.input)}
        weights = {tensor.name: tuple(tensor.dims) for tensor in net.weights}
        self.layers = []
        for node in net.nodes:
            x = shapes[node.input[0]]
            attributes = {a.name: list(a.ints) or a.i for a in node.attribute}
            if node.op_type == "Conv":
                outputs, channels, kernel, _ = weights[node.input[1]]
                stride, padding = attributes["strides"][0], attributes["pads"][0]
                size = (x[1] + 2 * padding - kernel) // stride + 1
                shapes[node.output[0]] = (outputs, size, size)
                # Only what windows reach: SCALE-Sim rounds the number of positions up.
                self.layers.append(((size - 1) * stride + kernel, kernel, channels, outputs, stride, size))
            elif node.op_type == "Gemm":
                outputs, depth = weights[node.input[1]]
                shapes[node.output[0]] = (outputs,)
                self.layers.append((1, 1, depth, outputs, 1, 1))
            elif node.op_type == "MaxPool":
                kernel, stride = attributes["kernel_shape"][0], attributes["strides"][0]
                size = (x[1] - kernel) // stride + 1
                shapes[node.output[0]] = (x[0], size, size)
            elif node.op_type == "GlobalAveragePool":
                shapes[node.output[0]] = (x[0], 1, 1)
            elif node.op_type == "Flatten":
                shapes[node.output[0]] = (math.prod(x),)
            else:
                shapes[node.output[0]] = x


def scalesim(layer, folder):
    """Cycles of the folds, share of multipliers in percent, DRAM words of input, weights and results."""
    image, kernel, channels, outputs, stride, _ = layer
    path = Path(folder) / "layer.csv"
    path.write_text(f"name,ih,iw,kh,kw,c,n,s,\nlayer,{image},{image},{kernel},{kernel},{channels},{outputs},{stride},\n")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        config, topology = scale_config(), topologies()
        config.update_from_list(["check", SIZE, SIZE, 128, 288, 128, 0, 10_000_000, 20_000_000, "os", "CALC", [10]])
        topology.load_arrays(str(path))
        run = single_layer_sim()
        run.set_params(layer_id=0, config_obj=config, topology_obj=topology, layout_obj=layouts(), verbose=False)
        run.run()
        run.calc_report_data()
    folds = math.ceil(run.topo.get_layer_num_ofmap_px(0) / outputs / SIZE) * math.ceil(outputs / SIZE)
    # A fold also fills and drains the array, in 30 cycles, which blocks here overlap.
    filling = run.total_cycles / folds - kernel * kernel * channels
    assert 28.5 < filling < 30.5, filling
    return folds * kernel * kernel * channels, run.mapping_eff, run.ifmap_dram_reads, run.filter_dram_reads, run.ofmap_dram_writes


def main():
    bench = Bench(sys.argv[1], sys.argv[2])
    machine = bench.described("one product", "lanes = 8")
    rows, unexplained = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for name, chosen in CHOSEN.items():
            make, widths = PAPER[name]
            report = bench.sim(bench.artifact(name, [8] * len(widths)), machine)
            ours = [layer for layer in report["layers"] if layer["bits"]]
            shapes = Recorder(make).layers
            for at in chosen:
                layer, shape = ours[at], shapes[at]
                _, kernel, channels, outputs, _, _ = shape
                cycles, mapped, ifmap, filters, ofmap = scalesim(shape, folder)
                own = layer["bit_parallel_8bit_compute_cycles"]
                used = 100 * layer["macs"] / (own * SIZE * SIZE)
                constants = 8 * outputs
                moved = layer["dram_bytes"] - layer["weight_bytes"] - constants
                notes = []
                unexplained += abs(own / cycles - 1) > 0.05
                weights = kernel * kernel * channels * outputs
                packed = -(-outputs // 16) * 16 * -(-(kernel * kernel * channels) // 4) * 4
                if abs(layer["weight_bytes"] / filters - 1) > 0.05:
                    again = filters / weights
                    notes.append(f"weights in tiles of 16 channels: {packed} of {weights}" if packed > weights else "")
                    if again > 1.05:
                        notes.append(f"SCALE-Sim reads weights {again:.1f} times")
                    unexplained += abs(layer["weight_bytes"] / packed - 1) > 0.05
                if moved < 0.95 * (ifmap + ofmap):
                    notes.append("tensors stay in the buffer")
                rows.append([f"{name} {layer['name']}", f"{own:,}", f"{cycles:,}", f"{100 * (own / cycles - 1):+.1f} %", f"{used:.1f}", f"{mapped:.1f}",
                             f"{layer['weight_bytes']:,}", f"{filters:,.0f}", f"{moved:,}", f"{ifmap:,.0f} + {ofmap:,.0f}",
                             "; ".join(note for note in notes if note)])
    table(["layer", "cycles", "SCALE-Sim", "difference", "used %", "SCALE-Sim", "weights", "SCALE-Sim", "tensors", "SCALE-Sim", "why"], rows)
    print(f"{len(rows)} layers, {unexplained} differences unexplained")
    sys.exit(unexplained > 0)


if __name__ == "__main__":
    main()
