"""Groups network addresses by customer, for rate limits."""

import ipaddress


def address_block(address: str) -> str:
    """Return an IPv4 address as it is, and the /64 network of an IPv6 address, because one customer has a whole /64.

    Text that is no address is returned unchanged.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4 or parsed.ipv4_mapped:  # noqa: PLR2004 (IPv4)
        return str(parsed)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
