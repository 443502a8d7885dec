"""What an OmniDeployment's status says: pure, from the goal and what was observed.

Called by `plan`. The order of the rules in `_explain` is the order in which a person would want to hear them:
first what must be done by hand, then what will pass by waiting.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tercet_wire.names import COLOCATED, Stage
from tercet_wire.status import Condition, ConditionType, OmniStatus, StageStatus

from tercet_operator.observed import Observed, Pod, Problem
from tercet_operator.rollout import Goal, Rollout

Routable = Mapping[tuple[str, Stage], int]
"""Replicas that every gateway reaches, by generation and stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Where and when the status is written."""

    generation: int
    """metadata.generation of the spec."""
    url: str
    now: str
    """RFC 3339."""
    routable: Routable | None
    """None: no gateway is known, and ready endpoints count."""
    gateways_in: str = ""
    """The gateways' namespace; empty where it is not known."""
    refusal: Problem | None = None
    """What the API server said to the last write."""


def build_status(goal: Goal, rollout: Rollout, observed: Observed, reading: Reading) -> OmniStatus:
    stages = {stage: _count(goal, observed, reading, stage) for stage in Stage}
    problem = reading.refusal or _find_problem(goal, observed)
    pods = _current_pods(goal, observed)
    verdicts = {
        ConditionType.READY: _explain(goal, observed, stages, problem),
        ConditionType.PROGRESSING: _explain_progress(goal, observed, stages, problem),
        ConditionType.DEGRADED: _explain_damage(problem),
        ConditionType.MODEL_CACHED: _explain_model(pods, problem),
    }
    return OmniStatus(
        observed_generation=reading.generation,
        conditions=_write_conditions(verdicts, observed, reading),
        stages=stages,
        summary=" ".join(f"{count.ready}/{count.desired}" for count in stages.values()),
        url=reading.url,
        generation=goal.current,
        serving_generations=rollout.serving,
    )


def build_invalid_status(message: str, observed: Observed, reading: Reading) -> OmniStatus:
    """Of a spec that no servers can be made from. What runs goes on."""
    invalid = Verdict(status="False", reason="InvalidSpec", message=message)
    damage = Verdict(status="True", reason="InvalidSpec", message=message)
    verdicts = {ConditionType.READY: invalid, ConditionType.DEGRADED: damage}
    return OmniStatus(
        observed_generation=reading.generation,
        conditions=_write_conditions(verdicts, observed, reading),
        url=reading.url,
        generation=str(observed.status.get("generation", "")),
        serving_generations=observed.serving_generations() or (),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A condition before its times are known."""

    status: str
    reason: str
    message: str


def _yes(reason: str, message: str) -> Verdict:
    return Verdict(status="True", reason=reason, message=message)


def _no(reason: str, message: str) -> Verdict:
    return Verdict(status="False", reason=reason, message=message)


def _count(goal: Goal, observed: Observed, reading: Reading, stage: Stage) -> StageStatus:
    kind = stage.value if stage.value in goal.wanted else COLOCATED
    pods = observed.pods_of(kind, goal.current)
    ready = observed.count_ready(kind, goal.current)
    reached = ready if reading.routable is None else reading.routable.get((goal.current, stage), 0)
    return StageStatus(
        desired=goal.wanted[kind],
        updated=sum(not pod.leaving for pod in pods),
        ready=ready,
        routable=min(ready, reached),
    )


def _explain(
    goal: Goal, observed: Observed, stages: Mapping[Stage, StageStatus], problem: Problem | None
) -> Verdict:
    """Ready: turns of the current generation get through. The gateway must have been told so before."""
    told = goal.current in (observed.serving_generations() or ())
    if told and all(count.routable for count in stages.values()):
        return _yes("Serving", "Turns are served by the current generation.")
    if not all(goal.wanted.values()):
        idle = ", ".join(stage for stage, count in stages.items() if not count.desired)
        return _no(
            "ScaledToZero", f"No replicas are asked for: {idle}. Set replicas in spec.stages to serve."
        )
    if problem is not None:
        return _no(problem.reason, problem.message)
    return _explain_waiting(goal, observed, stages)


def _explain_waiting(goal: Goal, observed: Observed, stages: Mapping[Stage, StageStatus]) -> Verdict:
    """Nothing is wrong that is known of."""
    unready = ", ".join(stage for stage, count in stages.items() if not count.ready)
    old = observed.generations() - {goal.current}
    told = goal.current in (observed.serving_generations() or ())
    if not unready and (old or not told):
        return _no(
            "Updating",
            "The gateways are being told of the current generation. If this lasts, they do not reach it: "
            "look at the gateway's log, and at network policies between gateway and servers.",
        )
    if not unready:
        unrouted = ", ".join(stage for stage, count in stages.items() if not count.routable)
        return _no(
            "NotRoutable",
            f"Not every gateway reaches a replica of: {unrouted}. If this lasts, look at the gateway's log, "
            "and at network policies between gateway and servers.",
        )
    if old:
        return _no("Updating", "Turns still go to the generation before; the current one is starting.")
    return _no("PodsNotReady", f"Waiting for the first ready replica of: {unready}.")


def _explain_progress(
    goal: Goal, observed: Observed, stages: Mapping[Stage, StageStatus], problem: Problem | None
) -> Verdict:
    if problem is not None and problem.reason == "ProgressDeadlineExceeded":
        return _no(problem.reason, problem.message)
    old = len(observed.generations() - {goal.current})
    if old:
        return _yes("Updating", f"Servers of {old} earlier generation{'s' * (old > 1)} are being replaced.")
    short = [
        f"{stage} {count.ready}/{count.desired}"
        for stage, count in stages.items()
        if count.ready < count.desired
    ]
    if short:
        return _yes("Starting", f"Ready so far: {', '.join(short)}.")
    return _no("Complete", "All replicas are of the current generation and ready.")


def _explain_damage(problem: Problem | None) -> Verdict:
    if problem is None:
        return _no("NothingWrong", "No server is kept from serving.")
    return _yes(problem.reason, problem.message)


def _explain_model(pods: tuple[Pod, ...], problem: Problem | None) -> Verdict:
    if any(pod.fetched for pod in pods):
        return _yes("Fetched", "The checkpoint is where the servers read it.")
    if problem is not None and problem.reason == "ModelFetchFailed":
        return _no(problem.reason, problem.message)
    return _no("Fetching", "No pod of the current generation has the checkpoint yet.")


def _current_pods(goal: Goal, observed: Observed) -> tuple[Pod, ...]:
    return tuple(pod for kind in goal.wanted for pod in observed.pods_of(kind, goal.current))


def _find_problem(goal: Goal, observed: Observed) -> Problem | None:
    """Of the current generation: a pod's own word first, since it says more than its Deployment."""
    for pod in _current_pods(goal, observed):
        if pod.problem is not None and not pod.leaving:
            return pod.problem
    servers = (server for server in observed.servers if server.generation == goal.current)
    return next((server.problem for server in servers if server.problem is not None), None)


def _write_conditions(
    verdicts: Mapping[ConditionType, Verdict], observed: Observed, reading: Reading
) -> tuple[Condition, ...]:
    before = {each["type"]: each for each in observed.status.get("conditions") or ()}
    return tuple(
        Condition.model_validate(
            {
                "type": kind,
                "status": verdict.status,
                "reason": verdict.reason,
                "message": verdict.message,
                "observedGeneration": reading.generation,
                "lastTransitionTime": before[kind]["lastTransitionTime"]
                if before.get(kind, {}).get("status") == verdict.status
                else reading.now,
            }
        )
        for kind, verdict in verdicts.items()
    )
