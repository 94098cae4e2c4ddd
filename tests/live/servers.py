"""Small servers that run inside a pod: `python servers.py KIND HOST PORT`, with KIND banner (speaks first) or echo."""

import socket
import sys
from socketserver import BaseRequestHandler, ThreadingTCPServer


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


class Server(ThreadingTCPServer):
    """On IPv4 or IPv6, as the address says."""

    allow_reuse_address = True
    daemon_threads = True


def main(kind: str, host: str, port: str) -> None:
    """Serves for ever."""
    Server.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
    Server((host, int(port)), {"banner": Banner, "echo": Echo}[kind]).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
