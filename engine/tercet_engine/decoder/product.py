"""A product with one of a decoder's weights, in the fastest form that its device offers.

Built once per weight, at load. On a CPU it is compiled, in single precision and in 8 bits; `linear` serves
all else.
"""

import torch
from tercet_wire.settings import Quantization

from tercet_engine.decoder.linear import Linear, build_linear
from tercet_engine.decoder.team import has_runtime


def build_product(
    weight: torch.Tensor, bias: torch.Tensor | None = None, quantization: Quantization = "none"
) -> Linear:
    """`x -> x @ weight.T + bias`; keeps no reference to `weight` when it could be packed.

    In 8 bits weights are rounded once and rows as they come, each output and each row with a scale of its
    own, so that a turn's numbers do not depend on who else is in the step. Raises ValueError where there are
    no such products.
    """
    on_cpu = weight.device.type == "cpu"
    if quantization == "int8":
        if not on_cpu or not can_multiply_int8():
            raise ValueError(
                "quantization int8 needs a CPU with VNNI, and a torch that computes with libgomp: "
                "write none, or run this stage on one"
            )
        from tercet_engine.decoder.compiled_int8 import Int8Product  # noqa: PLC0415 - compiles

        return Int8Product(weight.detach(), bias)
    if on_cpu and weight.dtype == torch.float32 and has_runtime():
        from tercet_engine.decoder.compiled_product import FloatProduct  # noqa: PLC0415 - compiles

        return FloatProduct(weight.detach(), bias)
    return build_linear(weight, bias)


def can_multiply_int8() -> bool:
    capable = torch.cpu.get_capabilities()
    return bool(capable.get("avx512_vnni") or capable.get("avx_vnni")) and has_runtime()
