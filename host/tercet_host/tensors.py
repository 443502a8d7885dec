"""Triton tensors as Python values, and back.

Used by `stage_host` and by the adapters in `model_repo/`. An absent input and a zero-sized one mean the
same, because inside an ensemble a step cannot leave an output out. Values are copied out of the request:
its shared memory is freed before the turn ends.
"""

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray
from tercet_wire.names import Tensor

# Triton's own classes carry no type information.
TritonTensor = Any
TritonRequest = Any


class Inputs:
    """The tensors of one request, by name."""

    def __init__(self, request: TritonRequest) -> None:
        self._request = request

    def array(self, name: Tensor) -> NDArray[Any] | None:
        """A copy of the tensor, or None where it is absent or empty."""
        tensor = pb_utils.get_input_tensor_by_name(self._request, name.value)
        if tensor is None:
            return None
        values: NDArray[Any] = tensor.as_numpy()
        return values.copy() if values.size else None

    def text(self, name: Tensor) -> str:
        """The one string of a BYTES tensor; empty where there is none."""
        values = self.array(name)
        return "" if values is None else bytes(values.flat[0]).decode()

    def flag(self, name: Tensor) -> bool:
        values = self.array(name)
        return values is not None and bool(values.flat[0])

    def integers(self, name: Tensor) -> tuple[int, ...]:
        values = self.array(name)
        return () if values is None else tuple(values.tolist())


def build_array(name: Tensor, values: NDArray[Any]) -> TritonTensor:
    return pb_utils.Tensor(name.value, np.ascontiguousarray(values))


def build_text(name: Tensor, text: str) -> TritonTensor:
    return pb_utils.Tensor(name.value, np.array([text.encode()], dtype=np.object_))


def build_flag(name: Tensor, value: bool) -> TritonTensor:
    return pb_utils.Tensor(name.value, np.array([value], dtype=np.bool_))


def build_integers(name: Tensor, values: tuple[int, ...]) -> TritonTensor:
    return pb_utils.Tensor(name.value, np.array(values, dtype=np.int32))
