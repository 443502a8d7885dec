"""Where a media URL may point: an allow-list of origins, and no private addresses.

Pure. `fetch` asks before each request and each redirect, `resolving` for each address that a name stands
for. One parser (yarl) reads a URL, and what it read is what is dialled; whatever two parsers could read in
two ways is refused before.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from yarl import URL

from tercet_gateway.media.refusals import MediaError

_MAX_URL_CHARS: Final = 8192
_SCHEMES: Final = ("https", "http")

_USER_NAME: Final = re.compile(r"([^:/?#]*:)?//[^/?#]*@")

# Global by the letter, but they wrap an IPv4 address that may be private: 6to4 and NAT64.
_WRAPPERS: Final = (ipaddress.IPv6Network("2002::/16"), ipaddress.IPv6Network("64:ff9b::/96"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    scheme: str
    host: str
    port: int | None


def parse_allowed_hosts(entries: Iterable[str]) -> frozenset[Origin]:
    """`host` means https; `http://host` and a `:port` must be said. ValueError names a wrong entry."""
    return frozenset(_allowed_origin(entry) for entry in entries)


def _allowed_origin(entry: str) -> Origin:
    try:
        url = URL(entry if "://" in entry else f"https://{entry}")
        is_origin = url.scheme in _SCHEMES and url == url.origin()
    except ValueError:
        is_origin = False
    if not is_origin or "*" in entry or any(map(_is_ambiguous, entry)):
        raise ValueError(f"allowed media host {entry!r} is not of the form host, host:port or http://host")
    return _origin_of(url)


def _origin_of(url: URL) -> Origin:
    return Origin(scheme=url.scheme, host=url.host or "", port=url.port)


def check_url(text: str, allowed: frozenset[Origin], base: URL | None = None) -> URL:
    """The URL to dial, if it may be dialled; a redirect's target may be relative to `base`."""
    if len(text) > _MAX_URL_CHARS or any(map(_is_ambiguous, text)):
        raise MediaError("The URL is too long, or has characters that no URL has.", "invalid_url")
    try:
        url = URL(text) if base is None else base.join(URL(text))
        origin = _origin_of(url)
    except ValueError as error:
        raise MediaError("This is not a URL.", "invalid_url") from error
    if origin.scheme not in _SCHEMES or not origin.host:
        raise MediaError("Media come as a data URL or from an http(s) URL.", "invalid_url")
    if _USER_NAME.match(text):
        raise MediaError("The URL must not hold a user name or password.", "invalid_url")
    if origin not in allowed:
        raise MediaError(
            "This server does not fetch media from there. Send the bytes as a data URL.", "url_not_allowed"
        )
    return url


def _is_ambiguous(char: str) -> bool:
    return char <= " " or char == "\\" or "\x7f" <= char <= "\xa0"


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet. Text that is no address is not."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if any(ip in network for network in _WRAPPERS):
            return False
    return ip.is_global and not ip.is_multicast


def is_numeric(host: str) -> bool:
    """Whether aiohttp takes the host for an address and asks no resolver: `10.0.0.1`, also `167772161`."""
    return ":" in host or host.replace(".", "").isdigit()
