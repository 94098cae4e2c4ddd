"""What the process tells of itself, in Envoy's shapes."""

from datetime import UTC, datetime, timedelta

from twisted.web.server import Site

from meshcar.admin.operator import ClusterStatus
from meshcar.admin.site import admin_site
from meshcar.identity.credentials import Credentials
from meshcar.identity.issue import Authority
from meshcar.identity.spiffe import SpiffeId
from tests.admin.fakes import call, clock, operator


def site(**changes: object) -> Site:
    """The admin Site of a fake process."""
    return admin_site(operator(**changes), clock())


def test_ready() -> None:
    """200 LIVE, with what there is to remark; 503 with the reason."""
    assert call(site(), "GET", "/ready").body == b"LIVE\n"
    assert call(site(remarks=lambda: ["no certificates: plaintext"]), "GET", "/ready").body == b"LIVE\nno certificates: plaintext\n"
    reply = call(site(ready=lambda: "the certificate expired"), "GET", "/ready")
    assert (reply.status, reply.body) == (503, b"the certificate expired\n")


def test_clusters() -> None:
    """A line a number: cluster, endpoint (IPv6 in brackets), name, value."""
    assert call(site(), "GET", "/clusters").body.decode().splitlines() == [
        "outbound|80||a::observability_name::outbound|80||a",
        "outbound|80||a::default_priority::max_connections::4294967295",
        "outbound|80||a::10.0.0.1:80::cx_active::2",
        "outbound|80||a::10.0.0.1:80::health_flags::healthy",
        "outbound|80||a::10.0.0.1:80::weight::2",
        "outbound|80||a::10.0.0.1:80::region::r",
        "outbound|80||a::10.0.0.1:80::zone::z",
        "outbound|80||a::10.0.0.1:80::sub_zone::",
        "outbound|80||a::10.0.0.1:80::priority::1",
        "outbound|80||a::[fd00::1]:80::health_flags::/failed_outlier_check",
        "outbound|80||a::[fd00::1]:80::weight::1",
        "outbound|80||a::[fd00::1]:80::region::",
        "outbound|80||a::[fd00::1]:80::zone::",
        "outbound|80||a::[fd00::1]:80::sub_zone::",
        "outbound|80||a::[fd00::1]:80::priority::0",
    ]


def test_clusters_json() -> None:
    """The same as Envoy's cluster_statuses."""
    (cluster,) = call(site(), "GET", "/clusters?format=json").value["cluster_statuses"]
    assert cluster["circuit_breakers"] == {"thresholds": [{"max_connections": 4294967295}]}
    assert cluster["host_statuses"][0] == {
        "address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}},
        "stats": [{"name": "cx_active", "value": "2"}],
        "health_status": {"eds_health_status": "HEALTHY"},
        "weight": 2,
        "locality": {"region": "r", "zone": "z"},
        "priority": 1,
    }


def test_listeners() -> None:
    """Ports and Unix sockets, by name."""
    assert call(site(), "GET", "/listeners").body == b"outbound::0.0.0.0:15001\nadmin::/run/admin\n"
    assert call(site(), "GET", "/listeners?format=json").value["listener_statuses"] == [
        {"name": "outbound", "local_address": {"socket_address": {"address": "0.0.0.0", "port_value": 15001}}},
        {"name": "admin", "local_address": {"pipe": {"path": "/run/admin"}}},
    ]


def test_server_info() -> None:
    """State and uptime in whole seconds."""
    value = call(site(), "GET", "/server_info").value
    assert (value["state"], value["uptime_all_epochs"], value["command_line_options"]) == ("LIVE", "60s", {"namespace": "default"})
    assert call(site(ready=lambda: "no"), "GET", "/server_info").value["state"] == "INITIALIZING"


def test_metrics() -> None:
    """The exposition text as it is."""
    reply = call(site(), "GET", "/stats/prometheus")
    assert (reply.body, reply.headers["content-type"]) == (b"# HELP\n", "text/plain; version=0.0.4; charset=utf-8")


def test_config_dump() -> None:
    """Options, rules, clusters, listeners."""
    configs = {config["@type"]: config for config in call(site(), "GET", "/config_dump").value["configs"]}
    assert configs["meshcar.Settings"]["namespace"] == "default"
    assert configs["meshcar.Rules"]["generation"] == 3
    assert configs["meshcar.Clusters"]["clusters"][0]["endpoints"][0]["address"] == "10.0.0.1"
    assert configs["meshcar.Listeners"]["listeners"][0]["port"] == 15001
    (outbound,) = configs["meshcar.OutboundListeners"]["listeners"]
    assert (outbound["name"], outbound["filter_chains"][0]["protocol"], outbound["filter_chains"][0]["server_names"]) == (
        "0.0.0.0_443", "http", ["a"])  # fmt: skip
    assert outbound["default_filter_chain"] == {
        "protocol": "tcp", "subnets": [], "server_names": [], "virtual_service": "d/v",
        "clusters": [{"cluster": "x", "share": 0.25}, {"cluster": "y", "share": 0.75}],
    }  # fmt: skip


def test_no_certificates() -> None:
    """Without --certs the list is empty."""
    assert call(site(), "GET", "/certs").value == {"certificates": []}


def test_certificates() -> None:
    """Serial, names and days left of each certificate, and nothing of the key."""
    start = datetime.fromtimestamp(1_000_000.0, UTC)
    authority = Authority.new("test", start, timedelta(days=30))
    issued = authority.issue(SpiffeId.parse("spiffe://cluster.local/ns/a/sa/b"), start, timedelta(days=2))
    credentials = Credentials.load(issued.chain, issued.key, authority.pem)
    body = call(site(credentials=lambda: credentials), "GET", "/certs")
    (certificate,) = body.value["certificates"]
    (leaf,) = certificate["cert_chain"]
    assert leaf["subject_alt_names"] == [{"uri": "spiffe://cluster.local/ns/a/sa/b"}]
    assert (leaf["serial_number"], leaf["days_until_expiration"]) == (credentials.serial, "1")
    assert leaf["expiration_time"] == "1970-01-14T13:46:40.000Z"
    assert certificate["ca_cert"][0]["days_until_expiration"] == "29"
    everything = body.body + call(site(credentials=lambda: credentials), "GET", "/config_dump").body
    assert b"PRIVATE" not in everything and issued.key.splitlines()[1] not in everything


def test_many_things_are_told_in_slices() -> None:
    """What there may be ten thousand of is put together bit by bit; a caller gets it whole."""
    many = [ClusterStatus(f"outbound|80||h{number}", (), {}) for number in range(500)]
    found = call(site(clusters=lambda: iter(many)), "GET", "/clusters?format=json").value
    assert [one["name"] for one in found["cluster_statuses"]] == [one.name for one in many]
    configs = call(site(clusters=lambda: iter(many)), "GET", "/config_dump").value["configs"]
    assert [one["@type"] for one in configs] == [
            f"meshcar.{name}" for name in ("Settings", "Rules", "Clusters", "OutboundListeners", "Listeners")]  # fmt: skip
    assert len(configs[2]["clusters"]) == 500 and configs[1]["resources"][0]["kind"] == "VirtualService"
