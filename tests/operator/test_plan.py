"""What a look at a deployment asks for, from the first to the one that finds all as it should be."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tercet_operator.observed import observe
from tercet_operator.plan import APPLIED_ANNOTATION, Plan, Scale, plan, render_children
from tercet_operator.settings import Images
from tercet_operator.status import Reading
from tercet_wire.names import LABEL_GENERATION, LABEL_STAGE, Stage
from tercet_wire.spec import OmniDeployment

from tests.operator.cluster_objects import OWNER, build_child, build_ready_pod, build_resource
from tests.operator.defaulting import store

Manifest = dict[str, Any]
READING = Reading(generation=1, url="http://gateway/v1", now="2026-01-01T00:00:00Z", routable=None)
PER_STAGE = ("PodDisruptionBudget", "ConfigMap", "Service", "Deployment")


@dataclass(slots=True, kw_only=True)
class World:
    """One deployment and what is in the cluster of it. `obey` does what an API server would."""

    spec: Manifest = field(default_factory=dict)
    children: dict[tuple[str, str], Manifest] = field(default_factory=dict)
    pods: list[Manifest] = field(default_factory=list)
    status: Manifest | None = None
    images: Images = field(default_factory=Images)
    reading: Reading = READING

    def look(self) -> Plan:
        observed = observe([*self.children.values(), *self.pods], self.status)
        return plan(build_resource(**self.spec), observed, self.images, self.reading)

    def obey(self, todo: Plan) -> None:
        for manifest in todo.apply:
            self.children[manifest["kind"], manifest["metadata"]["name"]] = store(manifest)
        for scale in todo.scale:
            self.children["Deployment", scale.name]["spec"]["replicas"] = scale.replicas
        for ref in todo.delete:
            del self.children[ref]
        self.status = todo.status or self.status

    def make_pods_ready(self) -> None:
        """As many as each Deployment asks for."""
        self.pods = [
            build_ready_pod(labels[LABEL_STAGE], generation=labels[LABEL_GENERATION], name=f"{name}-{number}")
            for (kind, name), child in self.children.items()
            if kind == "Deployment"
            for labels in [child["metadata"]["labels"]]
            for number in range(child["spec"]["replicas"])
        ]

    def settle(self) -> None:
        for _ in range(50):
            todo = self.look()
            if todo == Plan():
                return
            self.obey(todo)
            self.make_pods_ready()
        raise AssertionError(f"never at rest: {todo}")

    def refs(self, kind: str) -> list[str]:
        return sorted(name for its_kind, name in self.children if its_kind == kind)


def settled(**spec: Any) -> World:
    world = World(spec=spec)
    world.settle()
    return world


def test_a_new_deployment_gets_all_its_children_at_once() -> None:
    """Pods last: what they mount and what lets turns in must be there before them."""
    todo = World().look()
    assert [each["kind"] for each in todo.apply] == ["NetworkPolicy", *PER_STAGE, *PER_STAGE, *PER_STAGE]
    assert (todo.scale, todo.delete) == ((), ())
    assert todo.status is not None
    assert todo.status["servingGenerations"] == []


def test_a_cache_is_a_claim() -> None:
    """Before the pods that mount it."""
    todo = World(spec={"model": {"source": "hf://a/b", "cache": {"size": "1Gi"}}}).look()
    assert [each["kind"] for each in todo.apply][:2] == ["NetworkPolicy", "PersistentVolumeClaim"]


@pytest.mark.parametrize(
    ("gateways_in", "admitted"),
    [("tercet-system", {"matchLabels": {"kubernetes.io/metadata.name": "tercet-system"}}), ("", {})],
)
def test_turns_come_from_the_gateways_namespace(gateways_in: str, admitted: Manifest) -> None:
    """Pods elsewhere may call themselves gateways. Where no namespace is known all must be let in."""
    policy = World(reading=replace(READING, gateways_in=gateways_in)).look().apply[0]
    (source,) = policy["spec"]["ingress"][0]["from"]
    assert source["namespaceSelector"] == admitted


SPECS: dict[str, Manifest] = {
    "smallest": {},
    "colocated": {"layout": "Colocated"},
    "cached": {"model": {"source": "hf://a/b", "cache": {"size": "1024Mi"}, "token": {"name": "t"}}},
    "a folder": {"model": {"source": "file:///m"}},
    "amounts in words of one's own": {
        "stages": {"thinker": {"resources": {"limits": {"cpu": "1000m", "memory": "1Gi"}}}}
    },
    "replicas": {"stages": {"talker": {"replicas": 3}, "code2wav": {"replicas": 0}}},
    "empty values in a template": {
        "podTemplate": {"spec": {"containers": [{"name": "triton", "env": [{"name": "A", "value": ""}]}]}}
    },
    "blue and green": {"rollout": {"strategy": "BlueGreen"}},
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_second_look_asks_for_nothing(spec: Manifest) -> None:
    """Right after the first, and later; whatever the API server added, whatever the time is."""
    world = World(spec=spec)
    world.obey(world.look())
    assert world.look() == Plan()
    world.settle()
    world.reading = replace(READING, now="2027-01-01T00:00:00Z")
    assert world.look() == Plan()


def test_what_render_shows_is_what_there_is_in_the_end() -> None:
    """`tercet render` and the operator cannot disagree."""
    world = settled(stages={"talker": {"replicas": 2}})
    wanted = render_children(OmniDeployment.model_validate(build_resource(**world.spec)), OWNER, world.images)
    assert {(each["kind"], each["metadata"]["name"]) for each in wanted} == set(world.children)
    applied = {
        ref: child["metadata"]["annotations"][APPLIED_ANNOTATION] for ref, child in world.children.items()
    }
    for each in wanted:
        annotations = each["metadata"]["annotations"]
        assert applied[each["kind"], each["metadata"]["name"]] == annotations[APPLIED_ANNOTATION]


@pytest.mark.parametrize("kind", ["NetworkPolicy", *PER_STAGE])
def test_what_somebody_deleted_is_made_again(kind: str) -> None:
    """That and nothing else."""
    world = settled()
    name = world.refs(kind)[0]
    del world.children[kind, name]
    assert [(each["kind"], each["metadata"]["name"]) for each in world.look().apply] == [(kind, name)]


def test_what_somebody_changed_is_changed_back() -> None:
    """A field of ours; one that is not ours is left."""
    world = settled()
    server = world.children["Deployment", world.refs("Deployment")[0]]
    server["spec"]["paused"] = True
    assert world.look() == Plan()
    server["spec"]["template"]["spec"]["containers"][0]["image"] = "other:1"
    (again,) = world.look().apply
    assert again["metadata"]["name"] == server["metadata"]["name"]


def test_a_field_that_we_have_stopped_writing_is_given_up() -> None:
    """No comparison shows it, so the digest of what was applied does."""
    world = settled()
    budget = world.children["PodDisruptionBudget", "demo-talker"]
    budget["metadata"]["annotations"][APPLIED_ANNOTATION] = "of an operator before"
    (again,) = world.look().apply
    assert again["metadata"]["name"] == "demo-talker"


def test_a_claim_is_made_once() -> None:
    """It can only grow, and by hand; writing the old size again would be refused for ever."""
    world = settled(model={"source": "hf://a/b", "cache": {"size": "1Gi"}})
    claim = world.children["PersistentVolumeClaim", "demo-model"]
    claim["spec"]["resources"]["requests"]["storage"] = "2Gi"
    assert world.look() == Plan()


def test_scaling_changes_one_field_of_one_server() -> None:
    """And no generation."""
    world = settled()
    world.spec = {"stages": {"talker": {"replicas": 4}}}
    todo = world.look()
    (server,) = todo.apply
    assert server["metadata"]["labels"][LABEL_STAGE] == "talker"
    assert server["spec"]["replicas"] == 4
    assert (todo.scale, todo.delete) == ((), ())


@pytest.mark.parametrize("strategy", ["Surge", "InPlace", "BlueGreen"])
def test_a_change_ends_with_one_generation(strategy: str) -> None:
    """Nothing of the one before is left, and what both share has not been touched."""
    world = settled(rollout={"strategy": strategy})
    before = dict(world.children)
    world.spec = {"rollout": {"strategy": strategy}, "speech": {"firstCodes": 9}}
    world.settle()
    kept = {ref for ref in before if ref in world.children}
    assert {kind for kind, _ in kept} == {"NetworkPolicy", "PodDisruptionBudget"}
    assert all(world.children[ref] == before[ref] for ref in kept)
    assert len(world.children) == len(before)


def test_old_servers_are_scaled_and_not_applied() -> None:
    """Of their pods this spec knows nothing; they are deleted once they have none."""
    world = settled(rollout={"strategy": "InPlace"})
    old = set(world.refs("Deployment"))
    world.spec = {"rollout": {"strategy": "InPlace"}, "speech": {"firstCodes": 9}}
    scaled, deleted = set(), set()
    for _ in range(20):
        todo = world.look()
        assert not old & {each["metadata"]["name"] for each in todo.apply}
        scaled |= {each.name for each in todo.scale}
        for kind, name in todo.delete:
            if kind == "Deployment":
                assert world.children[kind, name]["spec"]["replicas"] == 0
                deleted.add(name)
        assert all(each == Scale(name=each.name, replicas=0) for each in todo.scale)
        world.obey(todo)
        world.make_pods_ready()
    assert scaled == deleted == old


def test_a_draining_pod_keeps_its_server() -> None:
    """Settings and Service too, until it is gone."""
    before, world = settled(), settled(speech={"firstCodes": 9})
    name = before.refs("Deployment")[0]
    server = before.children["Deployment", name]
    for kind in ("Deployment", "Service", "ConfigMap"):
        world.children[kind, name] = before.children[kind, name]
    server["spec"]["replicas"] = 0
    labels = server["metadata"]["labels"]
    draining = build_ready_pod(labels[LABEL_STAGE], generation=labels[LABEL_GENERATION], leaving=True)
    world.pods.append(draining)
    assert world.look().delete == ()
    world.pods.remove(draining)
    assert set(world.look().delete) == {(kind, name) for kind in ("Deployment", "Service", "ConfigMap")}


def test_only_earlier_generations_are_cleared_away() -> None:
    """Not what is of no generation, of another kind, or being deleted already."""
    world = settled()
    for kind, name in (("Service", "of nobody"), ("Ingress", "x")):
        world.children[kind, name] = build_child(kind, name)
    labels = {LABEL_STAGE: "talker", LABEL_GENERATION: "old"}
    leaving, left = build_child("Service", "leaving"), build_child("Service", "left")
    for each in (leaving, left):
        each["metadata"]["labels"] |= labels
        world.children["Service", each["metadata"]["name"]] = each
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert world.look() == Plan(delete=(("Service", "left"),))


INVALID: dict[str, tuple[Manifest, str]] = {
    "a field that is unknown here": ({"layuot": "x"}, "spec.layuot"),
    "stages that cannot be one server": (
        {"layout": "Colocated", "stages": {"talker": {"replicas": 2}}},
        "replicas",
    ),
    "half a GPU": (
        {"stages": {"talker": {"resources": {"limits": {"nvidia.com/gpu": "500m"}}}}},
        "nvidia.com/gpu",
    ),
}


@pytest.mark.parametrize(("spec", "word"), INVALID.values(), ids=INVALID)
def test_a_spec_that_makes_no_servers_leaves_those_that_run(spec: Manifest, word: str) -> None:
    """Only the status changes, once, and names the field."""
    world = settled()
    before = world.status
    world.spec = spec
    todo = world.look()
    assert (todo.apply, todo.scale, todo.delete) == ((), (), ())
    assert todo.status is not None
    assert before is not None
    assert todo.status["servingGenerations"] == before["servingGenerations"]
    ready = todo.status["conditions"][0]
    assert (ready["status"], ready["reason"]) == ("False", "InvalidSpec")
    assert word in ready["message"]
    world.obey(todo)
    assert world.look() == Plan()


def test_the_status_says_where_and_what() -> None:
    """After all is at rest."""
    world = settled()
    assert world.status is not None
    generation = world.status["generation"]
    assert world.status["servingGenerations"] == [generation]
    assert world.status["summary"] == "1/1 1/1 1/1"
    assert world.status["url"] == READING.url
    assert {name.rpartition("-")[2] for name in world.refs("Deployment")} == {generation}
    assert set(world.status["stages"]) == set(Stage)


def test_a_step_that_nobody_will_report_is_taken_at_once() -> None:
    """The generation begins to serve by our own word: the next look must not wait for other news."""
    world = World()
    started = world.look()
    assert started.goes_on, "an empty list is a word too"
    world.obey(started)
    world.make_pods_ready()
    told = world.look()
    assert told.goes_on
    world.obey(told)
    serving = world.look()
    assert serving.status is not None
    assert not serving.goes_on


def test_writes_are_counted() -> None:
    """Each object once, and the status."""
    todo = World().look()
    assert todo.writes == len(todo.apply) + 1
    assert Plan().writes == 0
