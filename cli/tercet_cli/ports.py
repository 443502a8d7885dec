"""Which TCP ports are free on this machine. Used by `up` before anything is started."""

import socket
from collections.abc import Mapping
from contextlib import ExitStack

from tercet_cli.errors import CommandError


def pick_ports(count: int) -> tuple[int, ...]:
    """Ports on the loopback address that nobody uses now; all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return tuple(each.getsockname()[1] for each in sockets)


def claim_ports(host: str, asked: Mapping[str, int]) -> list[int]:
    """The ports asked for if they are free, any free one for 0; the keys are the options that ask."""
    with ExitStack() as stack:
        return [_claim(stack.enter_context(_open(host)), host, *each) for each in asked.items()]


def _open(host: str) -> socket.socket:
    try:
        return socket.socket(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0])
    except OSError as error:
        raise CommandError(f"{host}: {error.strerror}: choose another address with --host") from error


def _claim(probe: socket.socket, host: str, option: str, port: int) -> int:
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        probe.listen()  # else the next probe could be bound to the same port
    except OSError as error:
        raise CommandError(
            f"port {port} of {host} cannot be used: {error.strerror}: choose another with {option}"
        ) from error
    return int(probe.getsockname()[1])
