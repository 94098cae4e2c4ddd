"""Which HTTPRoutes belong to which services."""

from meshcar.rules.gateway_parents import attachments
from meshcar.rules.read import read
from tests.rules.conftest import http_route

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
"""
WEB = '{group: "", kind: Service, name: web, namespace: shop'


def test_attachments() -> None:
    """Oldest first; each parentRef by itself."""
    texts = [
        http_route("[{}]", f"{WEB}, port: 80}}, {WEB}, port: 81}}", "young", "shop", "2026-01-02"),
        http_route("[{}]", f"{WEB}}}", "old", "client", "2026-01-01"),
        http_route("[{}]", f"{WEB}}}", "foreign", "third"),
        http_route("[{}]", '{group: "", kind: Service, name: gone}', "lost", "shop"),
        http_route("[{}]", "{name: web}", "gateway", "shop"),
    ]
    resources = read("\n---\n".join([SERVICE, *texts]), "f").resources
    found = attachments(resources)
    assert list(found) == ["web.shop.svc.cluster.local"]
    assert [(one.resource.name, one.port, one.path[-1]) for one in found["web.shop.svc.cluster.local"]] == [
        ("foreign", None, 0), ("old", None, 0), ("young", 80, 0), ("young", 81, 1),
    ]  # fmt: skip
