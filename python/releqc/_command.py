"""The command inside the wheel, and calls of it.

A compilation takes minutes and all cores, so it has a process of its own: it can be interrupted, it takes no lock of the
interpreter, and it is the same program as on the command line.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import numpy

from ._errors import BY_CODE, Defect, GoalMissed, InputError
from ._results import Compiled

PROGRAM = pathlib.Path(__file__).parent / "bin" / ("releqc.exe" if os.name == "nt" else "releqc")


def main():
    """`releqc`, the command: the process becomes the program."""
    words = [str(PROGRAM), *sys.argv[1:]]
    if os.name == "nt":
        sys.exit(subprocess.call(words))
    os.execv(words[0], words)


def _call(words):
    """The exit code and the JSON object of a call; raises but for a missed goal."""
    process = subprocess.Popen(
        [str(PROGRAM), *words, "--json", "--quiet"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        out, err = process.communicate()
    except BaseException:
        # Asked to stop, it keeps what it has learned.
        process.send_signal(signal.SIGTERM)
        process.communicate()
        raise
    lines = out.decode().splitlines()
    report = json.loads(lines[-1]) if lines else {}
    code = process.returncode
    if code in (0, GoalMissed.exit_code):
        return code, report
    message = report.get("error") or err.decode(errors="replace").strip() or f"exit code {code}"
    raise BY_CODE.get(code, Defect)(message, report)


def _word(value):
    """A flag's value."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)


def _flags(given):
    """`max_loss=0.5` as `--max-loss=0.5`; True is a flag alone, None and False none."""
    words = []
    for name, value in given.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
        elif isinstance(value, dict):
            words += [f"{flag}={key}={_word(of)}" for key, of in value.items()]
        elif value is not None and value is not False:
            words.append(f"{flag}={_word(value)}")
    return words


def _file(folder, value, name):
    """The path of what may be a path, or bytes, which are written into `folder`."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        path = folder / name
        path.write_bytes(value)
        return str(path)
    return os.fspath(value)


def _data(folder, data):
    """Words of --data: a path; samples as an array; (x, y); or arrays by name."""
    if data is None:
        return []
    if isinstance(data, numpy.ndarray):
        data = {"x": data}
    elif isinstance(data, tuple):
        data = dict(zip(("x", "y"), data))
    if isinstance(data, dict):
        path = folder / "data.npz"
        numpy.savez(path, **data)
        return ["--data", str(path)]
    return ["--data", os.fspath(data)]


def compile(model, output=None, *, data=None, bits=None, **flags):
    """Compiles a model: a path of an ONNX file, or its bytes.

    Each keyword is the flag of that name of `releqc MODEL.onnx -o MODEL.rq` (docs/cli.md): `max_loss=0.5` is
    `--max-loss 0.5`, `bits=[8, 4, 4]` is `--bits 8,4,4`, `resume=True` is `--resume`, `shape={"x": (1, 3, 32, 32)}` is
    `--shape x=1,3,32,32`. `data` may also be an array of samples, a pair (x, y), or a dict with the names of an .npz.
    Raises GoalMissed, which has the artifact all the same, InputError, UnsupportedError, Interrupted.
    """
    with tempfile.TemporaryDirectory(prefix="releqc-") as folder:
        folder = pathlib.Path(folder)
        place = os.fspath(output) if output is not None else str(folder / "model.rq")
        words = ["compile", _file(folder, model, "model.onnx"), "-o", place]
        code, report = _call(words + _data(folder, data) + _flags({"bits": bits, **flags}))
        compiled = Compiled(pathlib.Path(place).read_bytes(), report)
    if code == GoalMissed.exit_code:
        lost = report.get("accuracy", {}).get("loss_points")
        raise GoalMissed(f"{lost} points are lost, at most {report.get('max_loss')} may be", report, compiled)
    return compiled


def inspect(artifact):
    """Layers, widths, sizes and hashes of an artifact, a path or bytes: the object of `releqc inspect --json`."""
    with tempfile.TemporaryDirectory(prefix="releqc-") as folder:
        return _call(["inspect", _file(pathlib.Path(folder), artifact, "model.rq")])[1]


def simulate(artifact, x=None):
    """Cycles and energy on the accelerator: the object of `releqc sim --json`. With samples (an array, or a dict of arrays by
    input) also what the simulated program computes, as a pair (report, first output)."""
    with tempfile.TemporaryDirectory(prefix="releqc-") as folder:
        folder = pathlib.Path(folder)
        words = ["sim", _file(folder, artifact, "model.rq")]
        if x is None:
            return _call(words)[1]
        if isinstance(x, dict):
            for index, (name, values) in enumerate(x.items()):
                numpy.save(folder / f"x{index}.npy", values)
                words += ["--input", f"{name}={folder / f'x{index}.npy'}"]
        else:
            numpy.save(folder / "x.npy", x)
            words += ["--input", str(folder / "x.npy")]
        report = _call([*words, "--output", str(folder / "y.npy")])[1]
        if not (folder / "y.npy").exists():
            raise InputError("the network has no output")
        return report, numpy.load(folder / "y.npy")
