"""ONNX files, run by ONNX Runtime."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from renyi_jax.common.extras import needs
from renyi_jax.errors import UserError


class OnnxFile:
    """A file of `inference.onnx_file.export_onnx`, run by ONNX Runtime on the CPU.

    Attributes:
        description: what `export_onnx` noted in it; empty for other files.

    Raises UserError: ONNX Runtime cannot run it, or is not installed.
    """

    def __init__(self, source: str | Path | bytes):
        needs("onnx", "onnxruntime")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                source if isinstance(source, bytes) else str(source), options
            )
        except Exception as error:  # of many classes, which onnxruntime does not export
            raise UserError(f"{source} cannot be run by ONNX Runtime: {error}") from error
        self._inputs = [each.name for each in self._session.get_inputs()]
        notes = self._session.get_modelmeta().custom_metadata_map
        self.description = {key: json.loads(note) for key, note in notes.items()}

    def __call__(self, *inputs: Any) -> list[Any]:
        """Returns the outputs, numpy arrays; the inputs are in the order of the description."""
        return list(self._session.run(None, dict(zip(self._inputs, map(np.asarray, inputs)))))
