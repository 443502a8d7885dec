"""Which GPUs each local server sees: what a device plugin does in a cluster.

Used by `up`. Servers get their GPUs one after the other and see them as cuda:0, cuda:1, ... A Disaggregated
stage whose spec names its `devices` asks for none here, and sees all.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tercet_cli.errors import CommandError

_VISIBLE = "CUDA_VISIBLE_DEVICES"


def list_gpus(environment: Mapping[str, str]) -> list[str]:
    if _VISIBLE in environment:
        return [gpu for gpu in environment[_VISIBLE].split(",") if gpu]
    return [str(index) for index, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]


def deal_gpus(asked: Sequence[int], gpus: Sequence[str]) -> Iterator[dict[str, str]]:
    """The environment of each server, in the order of `asked`."""
    if sum(asked) > len(gpus):
        raise CommandError(
            f"the stages ask for {sum(asked)} GPUs and this machine has {len(gpus)}: lower nvidia.com/gpu in "
            "resources.limits, or let the stages of layout Colocated share one with devices: [cuda:0]"
        )
    rest = iter(gpus)
    for count in asked:
        yield {_VISIBLE: ",".join(next(rest) for _ in range(count))} if count else {}
