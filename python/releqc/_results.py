"""What calls yield."""

from typing import Any, Dict, NamedTuple, Tuple


class Port(NamedTuple):
    """An input or output of a network: ONNX name, ONNX element type, extents of one sample."""

    name: str
    element: str
    shape: Tuple[int, ...]


class Compiled(NamedTuple):
    """An artifact, as bytes, and what the compilation reports (the keys of docs/cli.md)."""

    artifact: bytes
    report: Dict[str, Any]

    def save(self, path):
        """Writes the artifact."""
        with open(path, "wb") as file:
            file.write(self.artifact)
