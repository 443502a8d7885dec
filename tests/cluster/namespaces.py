"""A namespace for more than one test; `conftest` makes those for one."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.api import Api


@contextmanager
def make_namespace(kubeconfig: Path) -> Iterator[str]:
    """Deleted at the end with all that is in it; nobody waits for the deletion."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    with Api(kubeconfig, name) as api:
        api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        yield name
        api.delete("Namespace", name)
