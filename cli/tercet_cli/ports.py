"""Which TCP ports are free on this machine. Used by `up` before anything is started."""

import socket
from contextlib import ExitStack

from tercet_cli.errors import CommandError


def pick_ports(count: int) -> tuple[int, ...]:
    """Ports on the loopback address that nobody uses now; all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return tuple(each.getsockname()[1] for each in sockets)


def claim_port(host: str, port: int, option: str) -> int:
    """`port` if it is free, any free one for 0; `option` names the way to choose another."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise CommandError(
            f"port {port} of {host} cannot be used: {error.strerror}: choose another with {option}"
        ) from error
