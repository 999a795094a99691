"""The address guard: where a resolved name may not lead."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.upstream.guard import refused

INSIDE = {
    "loopback": ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"],
    "this-host": ["0.0.0.0", "0.1.2.3", "::"],  # noqa: S104 (refused here, not bound)
    "private": [
        "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd00:ec2::254", "fec0::1",
        "::ffff:10.0.0.1",
    ],
    "link-local": ["169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254"],
    "carrier-grade NAT": ["100.64.0.1", "100.127.255.255", "100.100.100.200"],
    "6to4": ["2002:7f00:1::1", "2002:a9fe:a9fe::1", "2002:808:808::1"],
    "NAT64": ["64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"],
    "Teredo": ["2001:0:4136:e378::1"],
    "IPv4-compatible": ["::7f00:1", "::a00:1"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1"],
    "cloud metadata": ["168.63.129.16", "169.254.169.254"],
    "reserved": [
        "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "240.0.0.1", "255.255.255.255", "2001:db8::1",
    ],
    "unreadable": ["", "host", "1.2.3", "1.2.3.4.5", "0x7f.1"],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "address"), [(kind, address) for kind, rows in INSIDE.items() for address in rows])
def test_an_address_inside_is_refused_by_its_kind(kind: str, address: str) -> None:
    found = refused(address)
    assert found is not None
    assert kind in found


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "104.18.7.192", "2606:4700::6810:7c0", "2a00:1450:4001::1"])
def test_a_public_address_passes(address: str) -> None:
    assert refused(address) is None


@given(st.ip_addresses())
def test_what_passes_is_global_by_the_registries_too(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if refused(str(address)) is None:
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_however_it_is_wrapped(address: ipaddress.IPv4Address) -> None:
    assert refused(str(address)) == refused(f"::ffff:{address}")
