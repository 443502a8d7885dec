"""Where kopf would keep what it last handled: nowhere, since nothing is handled by it.

Set by `handlers.build_settings`. For its stores kopf copies every object of every event again and again: most
of the time that it takes. And what does not store cannot write.
"""

from typing import Any

import kopf


class NoDiffBase(kopf.DiffBaseStorage):
    def build(self, *, body: Any, extra_fields: Any = None) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: Any) -> None:
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None: ...


class NoProgress(kopf.ProgressStorage):
    def fetch(self, *, key: Any, body: Any) -> None:
        return None

    def store(self, *, key: Any, record: Any, body: Any, patch: Any) -> None: ...

    def purge(self, *, key: Any, body: Any, patch: Any) -> None: ...

    def touch(self, *, body: Any, patch: Any, value: Any) -> None: ...

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence
