"""Ctrl-C: what `tercet up` started ends with it, also in the middle of a turn."""

from contextlib import ExitStack
from pathlib import Path

import httpx

from tests.e2e.processes import is_free, list_ports, members, wait_gone
from tests.e2e.replies import ENDLESS, SPOKEN, ask_about
from tests.e2e.served import EXAMPLES, serve


def test_ctrl_c_leaves_no_process_and_no_port(tmp_path: Path) -> None:
    """A reply that is being spoken is spoken to its end."""
    body = {**ask_about(), **ENDLESS, **SPOKEN, "max_tokens": 16, "stream": True}
    with ExitStack() as listening:
        with serve(EXAMPLES / "demo.yaml", tmp_path / "run") as served:
            url = f"{served.url}/chat/completions"
            response = listening.enter_context(httpx.stream("POST", url, json=body, timeout=60))
            lines = response.iter_lines()
            assert next(lines)
            processes = members(served.process.pid)
            ports = list_ports(processes)
        assert "[DONE]" in list(lines)[-2]
    wait_gone(processes)
    assert len(ports) == 5  # the gateway and its metrics; Triton's three
    assert [port for port in ports if not is_free(port)] == []
