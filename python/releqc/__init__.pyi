import os
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union, overload

import numpy as np
from numpy.typing import NDArray

_Path = Union[str, "os.PathLike[str]"]
_Source = Union[_Path, bytes, bytearray, memoryview]
_Array = NDArray[Any]
_List = Union[float, Sequence[float]]

__version__: str

class Port(NamedTuple):
    name: str
    element: str
    shape: Tuple[int, ...]

class Compiled(NamedTuple):
    artifact: bytes
    report: Dict[str, Any]
    def save(self, path: _Path) -> None: ...

class ReleqcError(Exception):
    exit_code: int
    details: Dict[str, Any]

class Defect(ReleqcError): ...
class InputError(ReleqcError, ValueError): ...
class UnsupportedError(ReleqcError): ...

class GoalMissed(ReleqcError):
    compiled: Optional[Compiled]

class Interrupted(ReleqcError): ...

class Session:
    inputs: List[Port]
    outputs: List[Port]
    def __init__(
        self, artifact: _Source, *, threads: int = 1, isa: Optional[str] = None, batch: int = 1
    ) -> None: ...
    @property
    def isa(self) -> str: ...
    def set_pixels(self, mean: Optional[_List] = None, std: Optional[_List] = None) -> None: ...
    def run(
        self, x: Union[_Array, Mapping[str, _Array]]
    ) -> Union[NDArray[np.float32], Dict[str, NDArray[np.float32]]]: ...

def compile(
    model: _Source,
    output: Optional[_Path] = None,
    *,
    data: Union[_Path, _Array, Tuple[_Array, _Array], Mapping[str, _Array], None] = None,
    bits: Union[int, Sequence[int], None] = None,
    retrain: Optional[str] = None,
    rounding: Optional[str] = None,
    max_loss: Optional[float] = None,
    min_snr: Optional[float] = None,
    widths: Optional[str] = None,
    episodes: Optional[int] = None,
    time_budget: Optional[str] = None,
    seed: Optional[int] = None,
    resume: bool = False,
    cost: Optional[str] = None,
    reward: Optional[str] = None,
    mean: Optional[_List] = None,
    std: Optional[_List] = None,
    raw_pixels: bool = False,
    input_range: Optional[str] = None,
    shape: Optional[Mapping[str, Sequence[int]]] = None,
    cut: Optional[str] = None,
    threads: Optional[int] = None,
    annotated: Optional[_Path] = None,
    report: Optional[_Path] = None,
    emit: Optional[_Path] = None,
    **flags: Any,
) -> Compiled: ...
def inspect(artifact: _Source) -> Dict[str, Any]: ...
@overload
def simulate(artifact: _Source) -> Dict[str, Any]: ...
@overload
def simulate(
    artifact: _Source, x: Union[_Array, Mapping[str, _Array]]
) -> Tuple[Dict[str, Any], NDArray[np.float32]]: ...
