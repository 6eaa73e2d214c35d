"""The installed wheel: run with pytest in an environment that has it, numpy and pytest, from any folder."""

import os
import pathlib
import subprocess
import sys
import threading

import numpy
import pytest

import releqc

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHAIN = ROOT / "models" / "tiny_chain.onnx"
SHARED = pathlib.Path(os.environ.get("RELEQC_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="module")
def compiled():
    return releqc.compile(CHAIN, bits=4)


@pytest.fixture
def session(compiled):
    return releqc.Session(compiled.artifact)


def samples(session, count):
    shape = (count, *session.inputs[0].shape[1:])
    return numpy.random.default_rng(0).normal(size=shape).astype(numpy.float32)


def command(*words, cwd):
    script = pathlib.Path(sys.executable).parent / "releqc"
    return subprocess.run([script, *words], cwd=cwd, capture_output=True, text=True)


def test_bytes_and_paths_compile_alike(compiled, tmp_path):
    again = releqc.compile(CHAIN.read_bytes(), tmp_path / "m.rq", bits=[4] * len(compiled.report["layers"]))
    assert again.artifact == compiled.artifact == (tmp_path / "m.rq").read_bytes()
    assert compiled.report["average_bits"] == 4
    assert {layer["bits"] for layer in releqc.inspect(tmp_path / "m.rq")["layers"]} == {4}


def test_a_session_gives_what_the_command_gives(compiled, session, tmp_path):
    x = samples(session, 5)
    compiled.save(tmp_path / "m.rq")
    numpy.save(tmp_path / "x.npy", x)
    run = ("run", "m.rq", "--input", "x.npy", "--output", "y.npy", "--executor", "reference")
    assert command(*run, cwd=tmp_path).returncode == 0
    y = session.run(x)
    assert numpy.array_equal(y, numpy.load(tmp_path / "y.npy")) and len(set(y.ravel())) > 5
    assert numpy.array_equal(session.run(x[2]), y[2:3])
    strided = numpy.concatenate([x, x], axis=-1)[..., : x.shape[-1]]
    assert not strided.flags.c_contiguous and numpy.array_equal(session.run(strided), y)
    assert numpy.array_equal(session.run({session.inputs[0].name: x.astype(numpy.float64)}), y)
    for options in ({"batch": 4}, {"threads": 2}, {"isa": "scalar"}):
        assert numpy.array_equal(releqc.Session(tmp_path / "m.rq", **options).run(x), y), options
    report, simulated = releqc.simulate(compiled.artifact, x)
    assert numpy.array_equal(simulated, y) and report["cycles"] == releqc.simulate(tmp_path / "m.rq")["cycles"] > 0


@pytest.mark.parametrize("page", ["README.md", "python/README.md"])
def test_the_example_of_a_page_runs(page, tmp_path):
    example = (ROOT / page).read_text().split("```python\n")[1].split("```")[0]
    (tmp_path / "model.onnx").write_bytes(CHAIN.read_bytes())
    run = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0 and run.stdout.startswith("(8, 5)"), run.stderr


def test_pixels_are_the_values_that_they_stand_for(session):
    pixels = numpy.random.default_rng(1).integers(0, 256, (3, *session.inputs[0].shape[1:]), numpy.uint8)
    with pytest.raises(releqc.InputError, match="preprocessing"):
        session.run(pixels)
    session.set_pixels(0.5, 0.25)
    scaled = (pixels.astype(numpy.float32) / numpy.float32(255) - numpy.float32(0.5)) / numpy.float32(0.25)
    assert numpy.array_equal(session.run(pixels), session.run(scaled))
    session.set_pixels()
    assert numpy.array_equal(session.run(pixels), session.run(pixels.astype(numpy.float32)))


def test_failures_have_the_class_of_their_exit_code(compiled, session, tmp_path):
    with pytest.raises(releqc.InputError, match="no such file") as failed:
        releqc.compile(tmp_path / "absent.onnx")
    assert failed.value.exit_code == 2 and failed.value.details["exit_code"] == 2
    with pytest.raises(releqc.InputError, match="bits"):
        releqc.compile(CHAIN, bits=9)
    with pytest.raises(releqc.InputError, match="hash"):
        releqc.Session(compiled.artifact[:-1] + b"!")
    with pytest.raises(releqc.InputError, match=r"an array \[3, 1\]"):
        session.run(numpy.zeros((3, 1), numpy.float32))
    with pytest.raises(ValueError):
        releqc.Session(compiled.artifact, isa="sse9")
    assert issubclass(releqc.UnsupportedError, releqc.ReleqcError) and releqc.GoalMissed.exit_code == 4


def test_labelled_arrays_are_data_and_a_missed_goal_has_its_artifact():
    session = releqc.Session(releqc.compile(CHAIN, bits=8).artifact)
    x = samples(session, 300)
    y = session.run(x).reshape(300, -1).argmax(1)
    with pytest.raises(releqc.GoalMissed) as missed:
        releqc.compile(CHAIN, data=(x, y), bits=2, rounding="nearest", max_loss=0)
    assert missed.value.compiled.report["accuracy"]["metric"] == "top1"
    assert releqc.Session(missed.value.compiled.artifact).run(x).shape == (300, 5)


def test_several_inputs_come_by_name_and_what_is_unsupported_is_said(tmp_path):
    if not (SHARED / "cases").is_dir():
        pytest.skip(f"{SHARED} is absent")
    compiled = releqc.compile(SHARED / "cases" / "two_inputs_meta.onnx", bits=6)
    session = releqc.Session(compiled.artifact, batch=3)
    random = numpy.random.default_rng(0)
    x = {port.name: random.normal(size=(4, *port.shape[1:])).astype(numpy.float32) for port in session.inputs}
    y = session.run(x)
    compiled.save(tmp_path / "m.rq")
    words = []
    for name, values in x.items():
        numpy.save(tmp_path / f"{name}.npy", values)
        words += ["--input", f"{name}={name}.npy"]
    assert command("run", "m.rq", *words, "--output", "y.npy", "--executor", "reference", cwd=tmp_path).returncode == 0
    assert numpy.array_equal(y, numpy.load(tmp_path / "y.npy"))
    assert numpy.array_equal(releqc.simulate(compiled.artifact, x)[1], y)
    for wrong in (x["x"], {"x": x["x"]}, {**x, "meta": x["meta"][:2]}):
        with pytest.raises(releqc.InputError):
            session.run(wrong)
    with pytest.raises(releqc.UnsupportedError, match="Range") as refused:
        releqc.compile(SHARED / "cases" / "bomb_range.onnx", bits=4)
    assert refused.value.exit_code == 3


def test_runs_do_not_hold_the_lock_of_the_interpreter(session):
    x = numpy.concatenate([samples(session, 64)] * 400)
    began, counted = threading.Event(), []

    def run():
        began.set()
        session.run(x)
        counted.append(None)

    thread = threading.Thread(target=run)
    thread.start()
    began.wait()
    steps = 0
    while not counted:
        steps += 1
    thread.join()
    assert steps > 100


def test_the_command_is_there(tmp_path):
    assert command("--version", cwd=tmp_path).stdout.startswith("releqc ")
    assert command("inspect", "absent.rq", cwd=tmp_path).returncode == 2
