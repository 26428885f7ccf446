"""How addresses of the network count: what one customer has is one."""

from app.core.origin import address_block


class TestAddressBlock:
    def test_leaves_an_ipv4_address_and_what_is_none(self) -> None:
        addresses = ["192.0.2.7", "unknown", "testclient", ""]
        assert [*map(address_block, addresses)] == addresses

    def test_takes_the_whole_64_of_an_ipv6_one(self) -> None:
        blocks = {address_block(f"2001:db8:1:2:{tail}") for tail in (":", ":1", "ffff:ffff:ffff:ffff", ":1%eth0")}
        assert blocks == {"2001:db8:1:2::/64"}
        assert address_block("2001:db8:1:3::1") == "2001:db8:1:3::/64"

    def test_a_mapped_ipv4_address_is_no_block(self) -> None:
        assert address_block("::ffff:192.0.2.7") != address_block("::ffff:192.0.2.8")
