"""Emitted C on this machine and on Cortex-M cores in QEMU: equal to the reference in every byte, flash, RAM and instructions.

    python benches/embedded/measure.py --releqc target/release/releqc --samples 200 NAME=MODEL.rq=X.npy ..
    python benches/embedded/measure.py --releqc target/release/releqc --samples 200 --shared ../shared [--bits 8 4]

X.npy holds f32 samples. --shared measures LeNet, KWS DS-CNN, ResNet-8 and VWW, compiled at --bits with samples of
benches/samples.py. Hosts compile with every warning an error, under sanitizers. Needs numpy, gcc, clang, arm-none-eabi-gcc with
newlib, qemu-system-arm. The sizes are those of the sections in the map file of an image that holds the network, its caller and
nothing else; the buffers of input and output are not counted.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import numpy

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import samples as shared_samples  # noqa: E402

NETWORKS = {
    "LeNet": "mnist_lenet5_sakgoyal",
    "KWS DS-CNN": "kws_mlperftiny_dscnn",
    "ResNet-8": "cifar10_mlperftiny_resnet8",
    "VWW MobileNet": "vww_mlperftiny_mobilenet_v1_025_96_bn",
}
HOSTS = ["gcc", "clang"]
SANITIZED = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
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


def on_host(compiler, folder):
    """The output words of the samples, computed on this machine."""
    driver = HERE.parent.parent / "emit-c/tests/driver.c"
    call(
        compiler, *WARNINGS, "-pedantic", *SANITIZED, "-DHEADER=\"net.h\"", "-DRUN=net_run", f"-DINPUTS={folder.inputs}",
        f"-DOUTPUTS={folder.outputs}", "-I", folder.path, driver, folder.path / "net.c", "-o", folder.path / "host",
    )  # fmt: skip
    with open(folder.path / "x.bin", "rb") as given:
        done = subprocess.run([folder.path / "host"], stdin=given, capture_output=True)
    if done.returncode != 0:
        raise SystemExit(f"{compiler}: {done.stderr.decode()}")
    return numpy.frombuffer(done.stdout, numpy.uint32)


def sections(map_file):
    """Bytes of the output sections of a map file; a long name stands on a line of its own."""
    text = re.sub(r"^(\.[\w.]+)\n\s+", r"\1 ", map_file.read_text(), flags=re.MULTILINE)
    found = re.findall(r"^(\.[\w.]+)\s+0x[0-9a-f]+\s+0x([0-9a-f]+)", text, flags=re.MULTILINE)
    return {name: int(size, 16) for name, size in found}


class Folder:
    def __init__(self, path):
        self.path = pathlib.Path(path)


def measure(releqc, artifact, samples, hosts, boards):
    with tempfile.TemporaryDirectory() as path:
        folder = Folder(path)
        numpy.save(folder.path / "x.npy", samples)
        call(releqc, "run", artifact, "--input", folder.path / "x.npy", "--output", folder.path / "y.npy", "--executor",
             "reference", "--quiet")  # fmt: skip
        expected = numpy.load(folder.path / "y.npy")
        call(releqc, "emit-c", artifact, "-o", folder.path, "--name", "net", "--quiet")
        samples.tofile(folder.path / "x.bin")
        folder.inputs, folder.outputs = samples[0].size, expected[0].size
        words = expected.view(numpy.uint32).ravel()
        for host in hosts:
            equal = numpy.array_equal(on_host(host, folder), words)
            yield {"core": f"x86-64, {host}", "samples": len(samples), "equal": equal, "instructions": None, "flash": None,
                   "ram": None}  # fmt: skip
        for board in boards:
            core, flags = BOARDS[board]
            build(folder, flags, "samples.c", "samples.elf", True)
            said = call(
                "qemu-system-arm", "-M", board, "-nographic", "-icount", "shift=0", "-semihosting-config",
                "enable=on,target=native", "-kernel", "samples.elf", cwd=folder.path,
            )  # fmt: skip
            count, instructions = map(int, re.search(r"(\d+) (\d+)", said).groups())
            found = numpy.fromfile(folder.path / "y.bin", numpy.uint32)
            equal = count == len(samples) and numpy.array_equal(found, words)
            build(folder, flags, "bare.c", "bare.elf", False)
            size = sections(folder.path / "bare.elf.map")
            data = size.get(".data", 0)
            text, bss = size[".text"] + size.get(".ARM.exidx", 0), size[".bss"]
            buffers = 4 * (folder.inputs + folder.outputs)
            yield {"core": core, "samples": count, "equal": bool(equal), "instructions": instructions,
                   "flash": text + data, "ram": data + bss - buffers}  # fmt: skip


def given(args):
    """Name, artifact and samples of every network that is asked for."""
    for network in args.networks:
        name, artifact, inputs = network.split("=")
        yield name, artifact, numpy.ascontiguousarray(numpy.load(inputs)[: args.samples], numpy.float32)
    for name in args.only if args.shared else []:
        samples, _ = shared_samples.NETWORKS[NETWORKS[name]](args.shared)
        with tempfile.TemporaryDirectory() as folder:
            calibration, artifact = pathlib.Path(folder, "calibration.npy"), pathlib.Path(folder, "net.rq")
            numpy.save(calibration, samples[-64:])
            for bits in args.bits:
                call(args.releqc, args.shared / f"models/{NETWORKS[name]}.onnx", "-o", artifact, "--bits", bits, "--data",
                     calibration, "--retrain", "none", "--min-snr", 0, "--quiet")  # fmt: skip
                yield f"{name}, {bits} bits", artifact, samples[: args.samples]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--releqc", default="releqc")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--boards", nargs="*", default=list(BOARDS), choices=list(BOARDS))
    parser.add_argument("--hosts", nargs="*", default=[name for name in HOSTS if shutil.which(name)], choices=HOSTS)
    parser.add_argument("--shared", type=pathlib.Path)
    parser.add_argument("--bits", nargs="+", type=int, default=[8, 4])
    parser.add_argument("--only", nargs="+", default=list(NETWORKS), choices=NETWORKS, help="of --shared")
    parser.add_argument("networks", nargs="*", metavar="NAME=MODEL.rq=X.npy")
    args = parser.parse_args()
    print("| network | core | samples | equal bytes | flash, bytes | RAM, bytes | instructions a sample |")
    print("|---|---|---|---|---|---|---|")
    all_equal = True
    for name, artifact, samples in given(args):
        for row in measure(args.releqc, artifact, samples, args.hosts, args.boards):
            all_equal &= row["equal"]
            counts = " | ".join("-" if row[key] is None else f"{row[key]:,}" for key in ("flash", "ram", "instructions"))
            print(f"| {name} | {row['core']} | {row['samples']} | {'yes' if row['equal'] else 'NO'} | {counts} |", flush=True)
    raise SystemExit(0 if all_equal else 1)


if __name__ == "__main__":
    main()
