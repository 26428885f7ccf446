"""Network addresses as rate limits count them."""

import ipaddress


def address_block(address: str) -> str:
    """What one customer has of the network: an IPv4 address, but the whole /64 of an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4 or parsed.ipv4_mapped:  # noqa: PLR2004 (IPv4)
        return str(parsed)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
