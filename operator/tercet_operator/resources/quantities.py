"""Kubernetes' way to write an amount ("512Mi"), as a number.

Called by the builders, for amounts that a stage is told as bytes. The spec has checked the form already.
"""

from typing import Final

_FACTORS: Final = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
}


def parse_bytes(quantity: str) -> int:
    digits = quantity.rstrip("kMGKi")
    return int(digits) * _FACTORS[quantity.removeprefix(digits)]
