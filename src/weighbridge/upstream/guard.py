"""Addresses that a resolved name may not lead to.

Whoever controls a DNS name could point it at the inside of our network (server-side request forgery). So a name must
resolve to public addresses; an address that is written down as such in the configuration is its own permission.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_WIRE_SERVER = ip_address("168.63.129.16")
"""The metadata and DNS service of one large cloud: a public address that only answers inside."""

_EMBEDDING = (
    (ip_network("64:ff9b::/96"), "NAT64"),
    (ip_network("64:ff9b:1::/48"), "NAT64"),
    (ip_network("2002::/16"), "6to4"),
    (ip_network("2001::/32"), "Teredo"),
    (ip_network("::/96"), "IPv4-compatible"),
)
_NAMED = (
    (ip_network("127.0.0.0/8"), "loopback"),
    (ip_network("::1/128"), "loopback"),
    (ip_network("0.0.0.0/8"), "this-host"),
    (ip_network("::/128"), "this-host"),
    (ip_network("169.254.0.0/16"), "link-local (cloud metadata)"),
    (ip_network("fe80::/10"), "link-local"),
    (ip_network("100.64.0.0/10"), "carrier-grade NAT"),
    (ip_network("10.0.0.0/8"), "private"),
    (ip_network("172.16.0.0/12"), "private"),
    (ip_network("192.168.0.0/16"), "private"),
    (ip_network("fc00::/7"), "private"),
    (ip_network("fec0::/10"), "private"),
    (ip_network("224.0.0.0/4"), "multicast"),
    (ip_network("ff00::/8"), "multicast"),
)


def refused(address: str) -> str | None:
    """Which kind of address this is, where a name may not lead to it; `None` for a public one."""
    try:
        ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    except ValueError:
        return "unreadable"
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    for network, name in _NAMED + _EMBEDDING:
        if ip.version == network.version and ip in network:
            return name
    if ip == _WIRE_SERVER:
        return "cloud metadata"
    return None if ip.is_global and not ip.is_multicast else "reserved"
