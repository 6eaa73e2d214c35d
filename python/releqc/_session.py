"""Running artifacts in this process."""

import os

import numpy

from . import _native
from ._errors import InputError
from ._results import Port

UNSIGNED = numpy.dtype(numpy.uint8)


class Session:
    """A network planned for this machine: load once, run many.

    `artifact` is a path or bytes; `isa` as of `releqc run`; `batch` is how many samples are computed at a time, which loads the
    weights of fully connected layers once for all of them. Results depend on none of these. May be shared by threads: runs
    then happen one after the other, without the interpreter's lock.
    """

    def __init__(self, artifact, *, threads=1, isa=None, batch=1):
        given = bytes(artifact) if isinstance(artifact, (bytes, bytearray, memoryview)) else None
        path = os.fspath(artifact) if given is None else None
        self._native = _refused(_native.Session, given, path, threads, isa, batch)
        self.inputs = [Port(name, element, tuple(shape)) for name, element, shape in self._native.inputs]
        self.outputs = [Port(name, element, tuple(shape)) for name, element, shape in self._native.outputs]
        self._widths = [int(numpy.prod(port.shape)) for port in self.outputs]

    @property
    def isa(self):
        """The instruction set it was planned for."""
        return self._native.isa

    def set_pixels(self, mean=None, std=None):
        """How arrays of uint8 become inputs: (x / 255 - mean) / std, one value or one a channel; as they are without lists.
        Not needed where the artifact records it."""
        if (mean is None) != (std is None):
            raise InputError("mean and std belong together")
        lists = None if mean is None else tuple(numpy.atleast_1d(of).astype(float).tolist() for of in (mean, std))
        _refused(self._native.set_pixels, lists)

    def run(self, x):
        """Runs one sample or many, stacked along the first axis; a network of several inputs takes a dict of arrays by name.

        One output is an array, several are a dict. A single input of contiguous float32 is read in place; uint8 for a float
        input are pixels.
        """
        values, samples, pixels = self._joined(x)
        y = _refused(self._native.run_u8 if pixels else self._native.run, values)
        y = y.reshape(samples, -1)
        ends = numpy.cumsum(self._widths)[:-1]
        parts = [
            part.reshape(_stacked(samples, port.shape)) for part, port in zip(numpy.split(y, ends, axis=1), self.outputs)
        ]
        return parts[0] if len(parts) == 1 else {port.name: part for port, part in zip(self.outputs, parts)}

    def _joined(self, x):
        """All values, the number of samples, whether they are pixels."""
        if not isinstance(x, dict):
            if len(self.inputs) != 1:
                raise InputError(f"a dict with {', '.join(port.name for port in self.inputs)} is required")
            x = {self.inputs[0].name: x}
        names = [port.name for port in self.inputs]
        if sorted(x) != sorted(names):
            raise InputError(f"inputs {', '.join(sorted(x))}; {', '.join(names)} are required")
        arrays = [self._rows(numpy.asarray(x[port.name]), port) for port in self.inputs]
        counts = {len(rows) for rows in arrays}
        if len(counts) != 1:
            raise InputError(f"inputs of {', '.join(map(str, sorted(counts)))} samples; all must have as many")
        if len(arrays) > 1:
            return numpy.concatenate(arrays, axis=1, dtype=numpy.float32).reshape(-1), counts.pop(), False
        rows = arrays[0]
        pixels = rows.dtype == UNSIGNED and self.inputs[0].element == "f32"
        kind = UNSIGNED if pixels else numpy.float32
        return numpy.ascontiguousarray(rows, kind).reshape(-1), len(rows), pixels

    @staticmethod
    def _rows(array, port):
        """The samples of an input as rows."""
        shape = port.shape
        sample = shape[1:] if shape[:1] == (1,) else shape
        if array.shape == sample or array.shape == shape:
            return array.reshape(1, -1)
        if array.shape[1:] == sample and array.shape[0] > 0:
            return array.reshape(len(array), -1)
        wanted = ", ".join(map(str, sample))
        raise InputError(f"input {port.name}: an array {list(array.shape)}; [N, {wanted}] is required")


def _refused(call, *arguments):
    """What the runtime refuses is wrong input."""
    try:
        return call(*arguments)
    except ValueError as error:
        raise InputError(str(error)) from None


def _stacked(samples, shape):
    """The extents of as many samples of a port."""
    return (samples, *(shape[1:] if shape[:1] == (1,) else shape))
