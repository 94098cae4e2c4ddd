"""Tells systemd how the process is doing, where a unit of Type=notify wants to know. Source: sd_notify(3)."""

import socket
from collections.abc import Mapping

READY, STOPPING = b"READY=1\nSTATUS=serving\n", b"STOPPING=1\nSTATUS=draining\n"


def notify(environ: Mapping[str, str], message: bytes) -> None:
    """Sends `message` to NOTIFY_SOCKET, if there is one; nobody waits for it, and it does not matter when it cannot be sent."""
    path = environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect("\0" + path[1:] if path.startswith("@") else path)
            sock.send(message)
        except OSError:
            pass
