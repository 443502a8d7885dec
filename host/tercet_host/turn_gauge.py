"""How many turns a stage has, as a metric of Triton's: what a server that is to stop waits for.

Made once by `stage_host`, which has the outbox's thread tell Triton when a turn opens and when its last
answer is out; so no step of the stage waits, and no two threads count. `drain` reads it in another process.
"""

import triton_python_backend_utils as pb_utils
from tercet_wire.names import TURNS_METRIC, Stage


class TurnGauge:
    def __init__(self, stage: Stage) -> None:
        # The family is kept, since its metrics end with it.
        self._family = pb_utils.MetricFamily(
            name=TURNS_METRIC,
            description="Turns in the stage, running or waiting",
            kind=pb_utils.MetricFamily.GAUGE,
        )
        self._metric = self._family.Metric(labels={"stage": stage.value})
        self._turns = 0

    def enter(self) -> None:
        self._show(self._turns + 1)

    def leave(self) -> None:
        self._show(self._turns - 1)

    def _show(self, turns: int) -> None:
        self._turns = turns
        self._metric.set(turns)
