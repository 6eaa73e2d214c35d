"""Emitted C on Cortex-M cores in QEMU: equal to the reference in every byte, flash, RAM and instructions.

    python benches/embedded/measure.py --releqc target/release/releqc --samples 200 NAME=MODEL.rq=X.npy ..

X.npy holds f32 samples. Needs numpy, arm-none-eabi-gcc with newlib, qemu-system-arm. The sizes are those of an image
that holds the network, its caller and nothing else; the buffers of input and output are not counted.
"""

import argparse
import pathlib
import re
import subprocess
import tempfile

import numpy

HERE = pathlib.Path(__file__).resolve().parent
BOARDS = {
    "mps2-an385": ("Cortex-M3", ["-mcpu=cortex-m3", "-mthumb", "-mfloat-abi=soft"]),
    "mps2-an500": ("Cortex-M7", ["-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"]),
}
# Scheduled loads spill registers on these cores: a fifth more instructions.
OPTIMIZED = ["-O3", "-fno-schedule-insns"]
WARNINGS = ["-std=c99", "-Wall", "-Wextra", "-Werror"]


def call(*words, **options):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
    return done.stdout


def build(folder, flags, source, image, semihosting):
    system = ["--specs=rdimon.specs", "-DSEMIHOSTING"] if semihosting else ["-nostdlib"]
    libraries = [] if semihosting else ["-lc", "-lgcc"]
    call(
        "arm-none-eabi-gcc", *flags, *WARNINGS, *OPTIMIZED, "-ffunction-sections", "-fdata-sections",
        "-Wl,--gc-sections", "-nostartfiles", *system, "-T", HERE / "mps2.ld", "-DHEADER=\"net.h\"", "-DRUN=net_run",
        f"-DINPUTS={folder.inputs}", f"-DOUTPUTS={folder.outputs}", "-I", folder.path, HERE / "start.c", HERE / source,
        folder.path / "net.c", *libraries, f"-Wl,-Map={folder.path / image}.map", "-o", folder.path / image,
    )  # fmt: skip


class Folder:
    def __init__(self, path):
        self.path = pathlib.Path(path)


def measure(releqc, artifact, samples, boards):
    with tempfile.TemporaryDirectory() as path:
        folder = Folder(path)
        numpy.save(folder.path / "x.npy", samples)
        call(releqc, "run", artifact, "--input", folder.path / "x.npy", "--output", folder.path / "y.npy", "--executor",
             "reference", "--quiet")  # fmt: skip
        expected = numpy.load(folder.path / "y.npy")
        call(releqc, "emit-c", artifact, "-o", folder.path, "--name", "net", "--quiet")
        samples.tofile(folder.path / "x.bin")
        folder.inputs, folder.outputs = samples[0].size, expected[0].size
        for board in boards:
            core, flags = BOARDS[board]
            build(folder, flags, "samples.c", "samples.elf", True)
            said = call(
                "qemu-system-arm", "-M", board, "-nographic", "-icount", "shift=0", "-semihosting-config",
                "enable=on,target=native", "-kernel", "samples.elf", cwd=folder.path,
            )  # fmt: skip
            count, instructions = map(int, re.search(r"(\d+) (\d+)", said).groups())
            found = numpy.fromfile(folder.path / "y.bin", numpy.uint32)
            equal = count == len(samples) and numpy.array_equal(found, expected.view(numpy.uint32).ravel())
            build(folder, flags, "bare.c", "bare.elf", False)
            row = call("arm-none-eabi-size", folder.path / "bare.elf").splitlines()[1].split()
            text, data, bss = map(int, row[:3])
            buffers = 4 * (folder.inputs + folder.outputs)
            yield {"core": core, "samples": count, "equal": bool(equal), "instructions": instructions,
                   "flash": text + data, "ram": data + bss - buffers}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--releqc", default="releqc")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--boards", nargs="+", default=list(BOARDS), choices=list(BOARDS))
    parser.add_argument("networks", nargs="+", metavar="NAME=MODEL.rq=X.npy")
    args = parser.parse_args()
    print("| network | core | samples | equal bytes | flash, bytes | RAM, bytes | instructions a sample |")
    print("|---|---|---|---|---|---|---|")
    all_equal = True
    for network in args.networks:
        name, artifact, inputs = network.split("=")
        samples = numpy.ascontiguousarray(numpy.load(inputs)[: args.samples], numpy.float32)
        for row in measure(args.releqc, artifact, samples, args.boards):
            all_equal &= row["equal"]
            print(f"| {name} | {row['core']} | {row['samples']} | {'yes' if row['equal'] else 'NO'} | {row['flash']:,} | "
                  f"{row['ram']:,} | {row['instructions']:,} |", flush=True)  # fmt: skip
    raise SystemExit(0 if all_equal else 1)


if __name__ == "__main__":
    main()
