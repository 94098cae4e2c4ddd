"""Small servers, each a process: `python servers.py KIND HOST PORT`, KIND: banner (speaks first), echo, named (says its port) or web."""

import base64
import hashlib
import socket
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from socketserver import BaseRequestHandler, ThreadingTCPServer

PORTIONS = 1024
"""How many the large body has, of 64 KiB each."""
RELUCTANCE = 0.5
"""Seconds before Web reads a body: who has it meanwhile keeps it."""


class Banner(BaseRequestHandler):
    """Says a line before it hears one, as SMTP and SSH servers do; then repeats what it hears."""

    greeting = b"220 ready\r\n"

    def handle(self) -> None:
        """One connection, to its end."""
        self.request.sendall(self.greeting)
        while data := self.request.recv(65536):
            self.request.sendall(data)


class Echo(Banner):
    """Only repeats."""

    greeting = b""


class Named(BaseRequestHandler):
    """Answers what it hears first with its own port, then ends."""

    def handle(self) -> None:
        """One connection."""
        if self.request.recv(65536):
            self.request.sendall(b"%d" % self.server.server_address[1])


class Web(BaseHTTPRequestHandler):
    """GET gives the large body, POST answers the digest of what it got, an upgrade is greeted and then repeats."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The large body, or the other protocol."""
        if self.headers.get("upgrade") == "websocket":
            self._switch()
            return
        self.send_response(200)
        self.send_header("content-length", str(PORTIONS << 16))
        self.end_headers()
        for portion in portions():
            self.wfile.write(portion)

    def do_POST(self) -> None:
        """Reads the body, but late."""
        time.sleep(RELUCTANCE)
        digest, left = hashlib.sha256(), int(self.headers["content-length"])
        while left and (data := self.rfile.read(min(left, 65536))):
            digest.update(data)
            left -= len(data)
        self.send_response(200)
        self.send_header("content-length", "64")
        self.end_headers()
        self.wfile.write(digest.hexdigest().encode())

    def _switch(self) -> None:
        self.send_response(101)
        self.send_header("connection", "Upgrade")
        self.send_header("upgrade", "websocket")
        self.send_header("sec-websocket-accept", accepted(self.headers["sec-websocket-key"]))
        self.end_headers()
        self.wfile.write(b"greeting")
        while data := self.rfile.read1(65536):
            self.wfile.write(data)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Not on stderr."""


class Server(ThreadingTCPServer):
    """On IPv4 or IPv6, as the address says."""

    allow_reuse_address = True
    daemon_threads = True


def portions() -> Iterator[bytes]:
    """The large body: no two portions are alike."""
    return (number.to_bytes(4) * (1 << 14) for number in range(PORTIONS))


def accepted(key: str) -> str:
    """What a server answers to a client's Sec-WebSocket-Key (RFC 6455, section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()


def main(kind: str, host: str, port: str) -> None:
    """Serves for ever."""
    Server.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
    Server((host, int(port)), {"banner": Banner, "echo": Echo, "named": Named, "web": Web}[kind]).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
