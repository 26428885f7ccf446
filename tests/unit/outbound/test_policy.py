"""Which addresses are public: the known ways around such checks, and whatever Hypothesis generates."""

import ipaddress

import pytest

from app.core.config import Settings
from app.core.host_rules import HostRules
from app.outbound.targets import NAT64, Policy, is_public
from tests.support.properties import given, st
from tests.support.tables import check_rows

ALL_V4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
ALL_V6 = st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address)
SPECIAL = st.sampled_from(
    ["127.0.0.1", "10.0.0.5", "172.31.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"]
).map(ipaddress.IPv4Address)
NOWHERE = Policy()


def embedded(prefix: str, address: ipaddress.IPv4Address, shift: int = 0) -> ipaddress.IPv6Address:
    return ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | int(address) << shift)


SPECIAL_ONES = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "127.0.0.1",
    "127.255.255.254", "168.63.129.16", "169.254.0.1", "169.254.169.254", "169.254.170.2", "172.16.0.1",
    "172.31.255.255", "192.0.0.1", "192.0.0.9", "192.0.0.192", "192.0.2.1", "192.31.196.1", "192.52.193.1",
    "192.88.99.1", "192.168.0.1", "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::2", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254",
    "64:ff9b:1::1", "64:ff9b:1::10.0.0.1", "100::1", "2001::1", "2001:0:7f00:1::", "2001:2::1", "2001:10::1",
    "2001:20::1", "2001:db8::1", "2002:7f00:1::", "2002:a00:1::1", "2002:808:808::1", "2620:4f:8000::1",
    "3fff::1", "4000::1", "5f00::1", "8000::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0",
    "febf::1", "fec0::1", "ff02::1", "ff0e::1",
]  # fmt: skip
PUBLIC_ONES = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.1", "100.63.255.255", "100.128.0.1", "126.255.255.255", "128.0.0.1",
    "172.15.255.255", "172.32.0.1", "192.167.255.255", "192.169.0.1", "223.255.255.255", "2001:4860:4860::8888",
    "2606:4700::1111", "2a00:1450:4001::1", "64:ff9b::8.8.8.8",
]  # fmt: skip


def is_refused(address: str) -> bool:
    return NOWHERE.refusal("a.example", 443, ipaddress.ip_address(address)) is not None


class TestAddresses:
    def test_special_ones_are_refused_and_public_ones_are_not(self) -> None:
        check_rows(is_refused, SPECIAL_ONES)
        check_rows(lambda address: not is_refused(address), PUBLIC_ONES)

    @given(ALL_V4 | SPECIAL | ALL_V6)
    def test_what_python_does_not_call_global_is_never_public(
        self, address: ipaddress.IPv4Address | ipaddress.IPv6Address
    ) -> None:
        doubtful = address.is_multicast or address.is_loopback or address.is_link_local or address.is_unspecified
        if address not in NAT64 and (not address.is_global or address.is_private or address.is_reserved or doubtful):
            assert not is_public(address)

    @given(st.sampled_from(list(ipaddress._IPv4Constants._private_networks)), st.integers(0, 2**32 - 1))  # type: ignore[attr-defined]
    def test_no_address_of_pythons_private_networks_is_public(
        self, network: ipaddress.IPv4Network, number: int
    ) -> None:
        assert not is_public(network[number % network.num_addresses])

    @given(SPECIAL)
    def test_nor_is_one_in_the_disguise_of_ipv6(self, address: ipaddress.IPv4Address) -> None:
        disguises = [
            embedded("::ffff:0:0", address), embedded("::", address), embedded("::ffff:0:0:0", address),
            embedded("64:ff9b::", address), embedded("64:ff9b:1::", address), embedded("2002::", address, 80),
            embedded("2001::", address, 64), embedded("2001::", ipaddress.IPv4Address(int(address) ^ 0xFFFFFFFF)),
        ]  # fmt: skip
        assert not any(map(is_public, disguises))


class TestPorts:
    def test_those_of_other_services_are_refused_and_those_of_the_web_are_not(self) -> None:
        address = ipaddress.ip_address("8.8.8.8")
        for port in (1, 22, 23, 25, 110, 389, 445, 465, 587, 993, 1023):
            assert "port" in str(NOWHERE.refusal("a.example", port, address)), port
        for port in (80, 443, 1024, 8080, 8443, 65535):
            assert NOWHERE.refusal("a.example", port, address) is None, port


def policy(allow: list[str], deny: list[str] | None = None) -> Policy:
    return Policy(HostRules.of(allow), HostRules.of(deny or []))


class TestExceptions:
    def test_an_allowed_network_is_reached_on_any_port_and_no_neighbour_or_ipv6_form_of_it(self) -> None:
        exception = policy(["10.1.0.0/16"])
        assert exception.refusal("a.example", 22, ipaddress.ip_address("10.1.2.3")) is None
        for other in ("10.2.0.1", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "2002:a01:203::"):
            assert exception.refusal("a.example", 80, ipaddress.ip_address(other)) is not None, other

    def test_an_allowed_name_may_lead_anywhere(self) -> None:
        def check(entry: str, host: str, allowed: bool) -> None:
            found = policy([entry]).refusal(host, 80, ipaddress.ip_address("10.0.0.1"))
            assert (found is None) is allowed

        check_rows(check, [
            ("Build.Corp.Example.", "build.corp.example", True),
            ("build.corp.example", "evilbuild.corp.example", False),
            ("build.corp.example", "build.corp.example.evil.com", False),
            ("*.corp.example", "build.corp.example", True),
            ("*.corp.example", "a.b.corp.example", True),
            ("*.corp.example", "corp.example", False),
            ("*.corp.example", "evilcorp.example", False),
            ("例子.example", "xn--fsqu00a.example", True),
        ])  # fmt: skip

    def test_denied_public_places_are_refused_nat64_included(self) -> None:
        denied = policy([], ["8.8.8.0/24", "intranet.example"])
        assert denied.refusal("a.example", 80, ipaddress.ip_address("8.8.8.8")) is not None
        assert denied.refusal("a.example", 80, ipaddress.ip_address("64:ff9b::8.8.8.8")) is not None
        assert denied.refusal("intranet.example", 80, ipaddress.ip_address("1.1.1.1")) is not None
        assert denied.refusal("a.example", 80, ipaddress.ip_address("1.1.1.1")) is None

    def test_with_everything_denied_only_what_is_allowed_is_reached(self) -> None:
        closed = policy(["api.example"], ["0.0.0.0/0", "::/0"])
        assert closed.refusal("api.example", 443, ipaddress.ip_address("1.1.1.1")) is None
        assert closed.refusal("other.example", 443, ipaddress.ip_address("1.1.1.1")) is not None
        assert closed.refusal("other.example", 443, ipaddress.ip_address("2606:4700::1111")) is not None

    def test_what_is_no_place_stops_the_start(self) -> None:
        def check(entry: str) -> None:
            for setting in ("outbound_allow", "outbound_deny"):
                with pytest.raises(ValueError, match="neither a network"):
                    Settings.model_validate({setting: [entry]})

        check_rows(check, ["10.0.0.1/8", "10.0.0", "http://a.example", "a b", "", "*", "*.", "300.1.1.1"])
