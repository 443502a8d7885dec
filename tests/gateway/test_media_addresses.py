"""Where a media URL may point: tables of hostile URLs and addresses."""

import re

import pytest
from tercet_gateway.media.addresses import check_url, is_numeric, is_public, parse_allowed_hosts
from tercet_gateway.media.refusals import MediaError
from yarl import URL

ALLOWED = parse_allowed_hosts(["media.example", "other.example:8443", "http://plain.example"])


@pytest.mark.parametrize(
    "url",
    [
        "https://media.example/a.png",
        "HTTPS://MEDIA.EXAMPLE/a.png?size=1#top",
        "https://media.example:443/a.png",
        "https://other.example:8443/",
        "http://plain.example:80/a",
        "https://media.example/path/with@sign",
    ],
)
def test_an_allowed_host_may_be_dialled(url: str) -> None:
    """Scheme, host and port must be those of an entry; a port may be left to the scheme."""
    assert check_url(url, ALLOWED).host in {"media.example", "other.example", "plain.example"}


@pytest.mark.parametrize(
    "url",
    [
        "http://media.example/a.png",
        "https://plain.example/a",
        "https://other.example/",
        "https://media.example:8443/",
        "https://media.example./a.png",
        "https://sub.media.example/",
        "https://media.example.evil/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data",
    ],
)
def test_any_other_host_is_refused(url: str) -> None:
    """No wildcards, no suffixes, no other scheme or port."""
    with pytest.raises(MediaError) as caught:
        check_url(url, ALLOWED)
    assert caught.value.code == "url_not_allowed"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.png",
        "/etc/passwd",
        "//media.example/a.png",
        "file:///etc/passwd",
        "ftp://media.example/a.png",
        "gopher://media.example/",
        "javascript:alert(1)",
        "https://",
        "https:///a.png",
        "https://user@media.example/a.png",
        "https://user:secret@media.example/a.png",
        "https://@media.example/a.png",
        "https://media.example\\@evil.example/",
        "https://evil.example\\.media.example/",
        "https://media.example/a b.png",
        "https://media.example/\r\nHost: evil.example",
        "https://media.example/\x00",
        "https://media.example\t/",
        "https://media.example:99999/",
        "https://media.example:port/",
        "https://[::1/",
        "https://media.example/" + "a" * 9000,
    ],
)
def test_what_two_parsers_could_read_in_two_ways_is_refused(url: str) -> None:
    """User names, backslashes, control characters, foreign schemes and plain nonsense."""
    with pytest.raises(MediaError) as caught:
        check_url(url, ALLOWED)
    assert caught.value.code == "invalid_url"


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/b.png", "https://media.example/b.png"),
        ("b.png", "https://media.example/x/b.png"),
        ("http://plain.example/b", "http://plain.example/b"),
    ],
)
def test_a_redirect_is_read_against_the_url_it_came_from(location: str, expected: str) -> None:
    """Relative and absolute targets, checked alike."""
    assert str(check_url(location, ALLOWED, base=URL("https://media.example/x/a.png"))) == expected


@pytest.mark.parametrize("location", ["//evil.example/", "https://evil.example/", "http://media.example/"])
def test_a_redirect_elsewhere_is_refused(location: str) -> None:
    """Also the one that only drops the encryption."""
    with pytest.raises(MediaError) as caught:
        check_url(location, ALLOWED, base=URL("https://media.example/x/a.png"))
    assert caught.value.code == "url_not_allowed"


@pytest.mark.parametrize(
    "entry",
    ["", "ftp://a.example", "https://a.example/path", "https://u@a.example", "a b", "*.a.example", "a:99999"],
)
def test_a_wrong_entry_stops_the_start(entry: str) -> None:
    """The message holds the entry."""
    with pytest.raises(ValueError, match=re.escape(repr(entry))):
        parse_allowed_hosts([entry])


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    """Addresses of the open internet, also as mapped IPv6."""
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "2130706433",
        "0x7f.1",
        "media.example",
        "",
    ],
)
def test_private_addresses(address: str) -> None:
    """Private, loopback, link-local, shared, multicast, wrapped, and what is no address at all."""
    assert not is_public(address)


@pytest.mark.parametrize(
    ("host", "numeric"),
    [("10.0.0.1", True), ("2130706433", True), ("::1", True), ("media.example", False), ("0x7f.1", False)],
)
def test_numeric_hosts(host: str, numeric: bool) -> None:
    """Hosts that the connector dials without asking the resolver."""
    assert is_numeric(host) is numeric
