"""Captures for tests that hold for any."""

from ipaddress import ip_network

from hypothesis import strategies as st

from meshcar.manifests.iptables import Capture

_ports = st.lists(st.integers(1, 65535), max_size=3).map(tuple)
_ids = st.lists(st.integers(0, 2**32 - 2), min_size=1, max_size=2).map(tuple)
_ranges = st.lists(st.ip_addresses().map(ip_network), max_size=3).map(tuple)


def captures() -> st.SearchStrategy[Capture]:
    """Any capture."""
    return st.builds(
        Capture, tproxy=st.booleans(), inbound_ports=st.none() | _ports, outbound_ports=_ports, excluded_outbound_ports=_ports, uids=_ids,
        outbound_ranges=st.none() | _ranges, excluded_interfaces=st.sampled_from([(), ("eth1",)]),
        virtual_interfaces=st.sampled_from([(), ("vm0", "vm1")]), groups=st.sampled_from([None, (), ("java", "202")]),
        excluded_groups=st.sampled_from([(), ("7",)]), drop_invalid=st.booleans())
