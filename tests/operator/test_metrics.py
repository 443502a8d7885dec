"""What the operator shows Prometheus."""

from tercet_operator.metrics import Metrics
from tercet_operator.queue import WorkQueue
from tercet_operator.store import Key, Store


def test_failures_stand_at_zero_before_the_first() -> None:
    """Else the panel of an operator that never failed is empty, and its first failure is no rise."""
    metrics = Metrics(WorkQueue[Key](), Store())
    shown = metrics.render().decode()
    for reason in ("Conflict", "Forbidden", "InternalError", "Invalid", "Timeout"):
        assert f'tercet_operator_reconcile_errors_total{{reason="{reason}"}} 0.0' in shown
