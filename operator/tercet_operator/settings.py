"""All that the operator is told at start, from its environment; read once by `__main__` and handed on.

The chart sets the variables. A fault names the variable and what it may be.
"""

import os
import socket
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

PREFIX = "TERCET_"
PullPolicy = Literal["Always", "IfNotPresent", "Never"]


class SettingsError(Exception):
    """The environment cannot be used; the text lists every fault in it."""


class Images(BaseModel):
    """What the servers run: with GPUs, and without."""

    model_config = ConfigDict(frozen=True)

    engine: str = "tercet/engine:0.1.0"
    engine_cpu: str = "tercet/engine-cpu:0.1.0"
    pull_policy: PullPolicy = "IfNotPresent"


class OperatorSettings(BaseModel):
    """Variable names are the field names in capitals, with `TERCET_` before them."""

    model_config = ConfigDict(frozen=True)

    namespaces: tuple[str, ...] = ()
    """Watched ones, separated by commas; none means all."""
    engine_image: str = Images().engine
    engine_cpu_image: str = Images().engine_cpu
    image_pull_policy: PullPolicy = Images().pull_policy
    gateway_service: str = ""
    """`namespace/name` of the gateways' Service. Empty: ready endpoints count as routable."""
    gateway_url: str = ""
    """Base URL that callers use; it stands in the status."""
    lease_namespace: str = "default"
    """Where replicas elect one of them: a watched one, as the lease is watched; their first if not given."""
    identity: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}", description="host name and process"
    )
    """This replica's name in the election."""
    workers: int = Field(default=32, ge=2, le=256)
    """Deployments reconciled at once: seven of eight for those made or edited, the rest for what happens."""
    resync_s: float = Field(default=300.0, gt=0)
    """Every object is looked at again this often, news or not."""
    metrics_port: int = Field(default=9401, ge=0, le=65535)
    """Metrics and liveness."""

    @field_validator("gateway_service")
    @classmethod
    def _check_service(cls, service: str) -> str:
        namespace, _, name = service.partition("/")
        if service and not (namespace and name):
            raise ValueError(f"{service!r} must be namespace/name")
        return service

    @field_validator("lease_namespace")
    @classmethod
    def _check_lease(cls, namespace: str, info: ValidationInfo) -> str:
        watched = info.data.get("namespaces", ())
        if watched and namespace not in watched:
            raise ValueError(f"{namespace!r} must be one of TERCET_NAMESPACES: {', '.join(watched)}")
        return namespace

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises SettingsError. Variables that Tercet does not know are not its own."""
        given: dict[str, object] = {
            name: environment[variable]
            for name in cls.model_fields
            if (variable := PREFIX + name.upper()) in environment
        }
        names = str(given.pop("namespaces", "")).replace(" ", "").split(",")
        if watched := tuple(filter(None, names)):
            given = {"lease_namespace": watched[0], **given, "namespaces": watched}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            faults = (f"{PREFIX}{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors())
            raise SettingsError("\n".join(faults)) from error

    @property
    def gateways_in(self) -> str:
        """Their namespace; empty where it is not known."""
        return self.gateway_service.partition("/")[0]

    @property
    def images(self) -> Images:
        return Images(
            engine=self.engine_image, engine_cpu=self.engine_cpu_image, pull_policy=self.image_pull_policy
        )
