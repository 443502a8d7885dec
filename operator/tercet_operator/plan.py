"""From an OmniDeployment and what is there to what must be written: `plan`, a pure function.

`reconcile` calls it with every look at a deployment and carries out what it says. When nothing is to be done
it says nothing, so that a second look writes nothing.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError
from tercet_wire.names import LABEL_GENERATION, LABEL_STAGE, Stage
from tercet_wire.spec import OmniDeployment

from tercet_operator.comparing import is_part
from tercet_operator.observed import Observed, Ref
from tercet_operator.resources.model_volume import build_claim
from tercet_operator.resources.naming import Owner, server_name
from tercet_operator.resources.protection import build_disruption_budget, build_network_policy
from tercet_operator.resources.servers import (
    Generation,
    build_deployment,
    build_generation,
    build_service,
    build_settings,
)
from tercet_operator.rollout import Goal, Rollout, plan_rollout
from tercet_operator.settings import Images
from tercet_operator.status import Reading, build_invalid_status, build_status

Manifest = dict[str, Any]
APPLIED_ANNOTATION: Final = "tercet.dev/applied"
"""Digest of what was applied: shows fields that we have stopped writing, which a comparison cannot."""
PRUNED: Final = frozenset(
    {
        "Deployment",
        "Service",
        "ConfigMap",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "NetworkPolicy",
    }
)
MADE_ONCE: Final = frozenset({"PersistentVolumeClaim"})
"""All that can change of them is that somebody lets them grow; an apply of the old size would be refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A server of an earlier generation, of whose other fields nothing is known any more."""

    name: str
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`status` is None where it is already so."""

    apply: tuple[Manifest, ...] = ()
    scale: tuple[Scale, ...] = ()
    delete: tuple[Ref, ...] = ()
    status: Manifest | None = None
    goes_on: bool = False
    """Another look is due at once: the next step starts from this one, and no news will come of it."""

    @property
    def writes(self) -> int:
        return len(self.apply) + len(self.scale) + len(self.delete) + (self.status is not None)


def plan(resource: Mapping[str, Any], observed: Observed, images: Images, reading: Reading) -> Plan:
    try:
        deployment = OmniDeployment.model_validate(_strip(resource))
        generation = build_generation(deployment, images)
    except ValidationError as error:
        invalid = build_invalid_status(_explain_invalid(error), observed, reading)
        return Plan(status=_changed_status(invalid.model_dump(mode="json", by_alias=True), observed))
    goal = Goal(
        strategy=deployment.spec.rollout.strategy,
        current=generation.digest,
        wanted={kind.name: kind.plan.replicas for kind in generation.kinds},
    )
    rollout = plan_rollout(goal, observed, is_reached=_is_reached(goal, reading))
    metadata = resource["metadata"]
    owner = Owner(namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"])
    children = _build_children(owner, deployment, generation, rollout, reading.gateways_in)
    wanted = [_stamp(each) for each in children]
    status = build_status(goal, rollout, observed, reading).model_dump(mode="json", by_alias=True)
    return Plan(
        apply=tuple(each for each in wanted if _differs(each, observed)),
        scale=tuple(_plan_scales(owner, goal, rollout, observed)),
        delete=tuple(_plan_deletions(goal, wanted, rollout, observed)),
        status=_changed_status(status, observed),
        goes_on=rollout.serving != observed.serving_generations(),
    )


def _is_reached(goal: Goal, reading: Reading) -> bool:
    """Every gateway sends turns to the current generation, or there are none that could say so."""
    if reading.routable is None:
        return True
    return all(reading.routable.get((goal.current, stage)) for stage in Stage)


def render_children(deployment: OmniDeployment, owner: Owner, images: Images) -> tuple[Manifest, ...]:
    """What there is once a rollout is complete, for `tercet render`.

    Without the digest of what was applied where the owner is in no cluster: nothing is applied there.
    """
    generation = build_generation(deployment, images)
    rollout = Rollout(
        replicas={(kind.name, generation.digest): kind.plan.replicas for kind in generation.kinds},
        serving=(generation.digest,),
    )
    children = _build_children(owner, deployment, generation, rollout, gateways_in="")
    return tuple(_stamp(each) if owner.uid else each for each in children)


def _build_children(
    owner: Owner, deployment: OmniDeployment, generation: Generation, rollout: Rollout, gateways_in: str
) -> Iterator[Manifest]:
    """In the order they are written: what pods need comes before the pods."""
    yield build_network_policy(owner, gateways_in)
    if deployment.spec.model.cache is not None:
        yield build_claim(owner, deployment.spec.model.cache)
    for kind in generation.kinds:
        yield build_disruption_budget(owner, kind.name)
        yield build_settings(owner, kind, generation.digest)
        yield build_service(owner, kind.name, generation.digest)
        yield build_deployment(
            owner,
            kind,
            generation.digest,
            replicas=rollout.replicas[kind.name, generation.digest],
            startup_s=deployment.spec.rollout.startup_seconds,
        )


def _plan_scales(owner: Owner, goal: Goal, rollout: Rollout, observed: Observed) -> Iterator[Scale]:
    for (kind, generation), replicas in rollout.replicas.items():
        if generation != goal.current and observed.replicas(kind, generation) != replicas:
            yield Scale(name=server_name(owner.name, kind, generation), replicas=replicas)


def _plan_deletions(
    goal: Goal, wanted: list[Manifest], rollout: Rollout, observed: Observed
) -> Iterator[Ref]:
    """Children of earlier generations, once their last pod is gone. The others go with their owner."""
    kept = {(each["kind"], each["metadata"]["name"]) for each in wanted}
    for ref, child in observed.children.items():
        if ref[0] not in PRUNED or ref in kept or "deletionTimestamp" in child["metadata"]:
            continue
        labels = child["metadata"].get("labels", {})
        kind, generation = labels.get(LABEL_STAGE, ""), labels.get(LABEL_GENERATION)
        if generation is None or observed.count(kind, generation):
            continue
        if not rollout.replicas.get((kind, generation)):
            yield ref


def _stamp(manifest: Manifest) -> Manifest:
    text = json.dumps(manifest, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    annotations = {**manifest["metadata"].get("annotations", {}), APPLIED_ANNOTATION: digest}
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": annotations}}


def _differs(manifest: Manifest, observed: Observed) -> bool:
    there = observed.children.get((manifest["kind"], manifest["metadata"]["name"]))
    if there is not None and manifest["kind"] in MADE_ONCE:
        return False
    return there is None or not is_part(manifest, there)


def _changed_status(status: Manifest, observed: Observed) -> Manifest | None:
    return None if status == observed.status else status


def _strip(resource: Mapping[str, Any]) -> Manifest:
    return {name: value for name, value in resource.items() if name != "status"}


def _explain_invalid(error: ValidationError) -> str:
    faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
    return f"{'; '.join(faults)}. Correct the resource, or the version of its definition in the cluster."
