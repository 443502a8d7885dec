#!/usr/bin/env python3
"""Writes the settings that compose.yaml's servers and gateways read: compose/<profile>/*.json.

A server's come from the builder that makes pods of the same OmniDeployment, a gateway's from the one that
`tercet up` uses. tests/operator/test_compose.py compares them, and the commands in compose.yaml, with both.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tercet_cli.deployment_file import read_deployment
from tercet_operator.resources.gateway import Serving, build_gateway_settings
from tercet_operator.resources.servers import ServerKind, build_generation
from tercet_operator.settings import Images
from tercet_wire.names import TRITON_GRPC_PORT, Stage
from tercet_wire.spec import OmniDeployment

ROOT: Final = Path(__file__).parents[1]
ANY_ADDRESS: Final = "0.0.0.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A profile of compose.yaml, and the file that describes what it serves."""

    name: str
    example: str

    @property
    def deployment(self) -> OmniDeployment:
        return read_deployment(ROOT / "examples" / self.example)

    @property
    def server(self) -> ServerKind:
        """As the operator would make its pods."""
        (kind,) = build_generation(self.deployment, Images()).kinds
        return kind

    @property
    def folder(self) -> Path:
        return ROOT / "compose" / self.name


PROFILES: Final = (
    Profile(name="cpu", example="omni-demo.yaml"),
    Profile(name="gpu", example="qwen-7b-one-gpu.yaml"),
)


def build_files(profile: Profile) -> Mapping[str, str]:
    """By name, as they lie in the profile's folder."""
    address = f"server-{profile.name}:{TRITON_GRPC_PORT}"
    deployment = profile.deployment
    serving = Serving(deployment=deployment, endpoints={stage: [address] for stage in Stage})
    gateway = build_gateway_settings({deployment.metadata.name: serving}, host=ANY_ADDRESS)
    files = {**profile.server.files, "gateway.json": json.dumps(gateway, indent=2)}
    return {name: text + "\n" for name, text in files.items()}


def main() -> None:
    for profile in PROFILES:
        profile.folder.mkdir(parents=True, exist_ok=True)
        for name, text in build_files(profile).items():
            (profile.folder / name).write_text(text)


if __name__ == "__main__":
    main()
