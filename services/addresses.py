"""Which addresses are of the internet, and which of this machine or its network."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_NAT64 = ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an address is one of the internet, also where it stands for one of IPv4."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        within = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            within = IPv4Address(int(found) & 0xFFFFFFFF)
        if within is not None:
            found = within
    return found.is_global and not found.is_multicast
