"""A trial of what is captured: a connection of the sidecar's to its own pod must come to the inbound port. Source: istio-validation."""

import os
import socket
import time
from contextlib import suppress

from meshcar.errors import MeshError, SettingsError
from meshcar.manifests.iptables import IPV4, Capture, Family
from meshcar.net.origdst import original_destination

_PATIENCE = 0.25
"""Seconds that a connection may take, and between one and the next."""
_ENDS = {4: ("127.0.0.1", "127.0.0.6"), 6: ("::1", "::6")}
"""From where to where: the kernel is to bring it back to where it came from, but to another port."""


class TrialFailed(MeshError):
    """Nothing came to the inbound port."""


def try_out(capture: Capture, family: Family, port: int, seconds: float) -> None:
    """Returns once a connection to `port` has come to the inbound port. Raises TrialFailed after so many seconds, SettingsError where the
    port is taken, as it is once the sidecar runs."""
    near, far = _ENDS[family.version]
    kind = socket.AF_INET if family is IPV4 else socket.AF_INET6
    end = time.monotonic() + seconds
    with _listener(kind, near, capture.inbound_port) as listener:
        while True:
            with _as_user(capture.uids[0], kind) as client:
                client.bind((near, 0))
                client.setblocking(False)
                client.connect_ex((far, port))
                if _came(listener, port):
                    return
            if time.monotonic() > end:
                raise TrialFailed(f"IPv{family.version} is not captured: a connection to {far}, port {port}, did not come to port "
                                  f"{capture.inbound_port} within {seconds:g} s")


def _listener(kind: socket.AddressFamily, host: str, port: int) -> socket.socket:
    try:
        listener = socket.create_server((host, port), family=kind)
    except OSError as e:
        raise SettingsError(f"cannot listen on {host}, port {port}, for the trial: {os.strerror(e.errno or 0)}") from None
    listener.settimeout(_PATIENCE)
    return listener


def _as_user(uid: int, kind: socket.AddressFamily) -> socket.socket:
    """A socket that belongs to a user, as root; else to whoever runs this."""
    if os.geteuid() != 0:
        return socket.socket(kind, socket.SOCK_STREAM)
    os.seteuid(uid)
    try:
        return socket.socket(kind, socket.SOCK_STREAM)
    finally:
        os.seteuid(0)


def _came(listener: socket.socket, port: int) -> bool:
    with suppress(TimeoutError):
        connection, _ = listener.accept()
        with connection:
            meant = original_destination(connection)
        return meant is not None and meant.port == port
    return False
