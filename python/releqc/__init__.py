"""Compiles trained ONNX networks to mixed low precision, and runs them.

>>> import numpy, releqc
>>> compiled = releqc.compile("model.onnx", bits=4)
>>> session = releqc.Session(compiled.artifact)
>>> y = session.run(numpy.zeros(session.inputs[0].shape, numpy.float32))
"""

from ._command import compile, inspect, simulate
from ._errors import Defect, GoalMissed, InputError, Interrupted, ReleqcError, UnsupportedError
from ._native import __version__
from ._results import Compiled, Port
from ._session import Session

__all__ = [
    "Compiled",
    "Defect",
    "GoalMissed",
    "InputError",
    "Interrupted",
    "Port",
    "ReleqcError",
    "Session",
    "UnsupportedError",
    "__version__",
    "compile",
    "inspect",
    "simulate",
]
