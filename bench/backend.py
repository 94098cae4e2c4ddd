"""The application and the mirror (nginx on the load core), and the check that answers are the right ones."""

import http.client
import os
import re
import urllib.request
from collections import Counter
from pathlib import Path

from bench.mesh import CLIENT, SERVER
from bench.processes import Failed, Process, tool

SMALL = '{"ok":true,"pad":"' + "0123456789" * 8 + '"}'
LARGE = 1 << 16
"""Bytes of /api/64k."""
ECHO = (
    "$request_method|$request_uri|$http_host|$http_x_bench_id|$content_length|"
    "$http_x_request_id|$http_x_b3_traceid|$http_x_forwarded_client_cert"
)
NGINX = """
worker_processes 1; daemon off; pid nginx.pid; {user}
events {{ worker_connections 4096; }}
http {{
  keepalive_requests 100000000; keepalive_timeout 3600; default_type text/plain; sendfile on; open_file_cache max=10;
  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
  map $http_x_bench_id $marked {{ "" 0; default 1; }}
  log_format marked '$http_x_bench_id $request_method $request_uri $content_length';
  access_log marked.log marked if=$marked;
  server {{
    listen 127.0.0.1:{port} backlog=4096; root {folder};
    location / {{ return 200 '{small}'; }}
    location = /api/64k {{ }}
    location = /api/echo {{ return 200 '{echo}'; }}
  }}
  server {{ listen 127.0.0.1:{count}; location / {{ stub_status; access_log off; }} }}
}}
"""


class Backend:
    """An nginx on `port` that answers with little, with 64 KiB, or with what it was asked."""

    def __init__(self, name: str, folder: Path, core: int, port: int, count: int) -> None:
        (folder / "api").mkdir(parents=True)
        self.large = os.urandom(LARGE)
        (folder / "api/64k").write_bytes(self.large)
        conf = folder / "nginx.conf"
        user = "user root;" if os.getuid() == 0 else ""
        conf.write_text(NGINX.format(user=user, folder=folder, port=port, count=count, small=SMALL, echo=ECHO))
        argv = [tool("nginx", "apt install nginx-light"), "-p", str(folder), "-e", "error.log", "-c", str(conf)]
        self.port, self._folder, self._asked = port, folder, 0
        self._count = f"http://127.0.0.1:{count}/"
        self.process = Process(name, argv, folder, core)
        self.process.ready(f"http://127.0.0.1:{port}/")
        self._own = self._total() - 1

    def requests(self) -> int:
        """Requests that came to `port` since the start, as nginx counts them."""
        self._asked += 1
        return self._total() - self._own - self._asked - 1

    def marked(self) -> list[tuple[str, ...]]:
        """(id, method, path, length) of each request with an id of the check."""
        return [tuple(line.split(" ")) for line in (self._folder / "marked.log").read_text().splitlines()]

    def _total(self) -> int:
        with urllib.request.urlopen(self._count, timeout=5) as answer:
            return int(answer.read().split(b"\n")[2].split()[2])


def check(port: int, hosts: tuple[str, ...], large: bytes, mtls: bool) -> set[tuple[str, ...]]:
    """Sends 60 different requests; gives (id, method, path, length) of each. Raises Failed unless each gets its own right answer.

    Right is: the backend saw this method, path, host, id and length; a request id that no other had; a b3 trace id; behind mutual
    TLS the certificate of the client; and one answer of 64 KiB, byte by byte.
    """
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    sent: set[tuple[str, ...]] = set()
    ids: set[str] = set()
    for number in range(60):
        method, body = ("POST", os.urandom(50 * number)) if number % 3 == 2 else ("GET", None)
        asked = (method, f"/api/echo?n={number}", hosts[number % len(hosts)], f"check-{number}", str(len(body)) if body else "")
        client.request(method, asked[1], body, {"Host": asked[2], "X-Bench-Id": asked[3]})
        answer = client.getresponse()
        text = answer.read().decode("latin-1")
        got = tuple(text.split("|"))
        if answer.status != 200 or got[:5] != asked:
            raise Failed(f"port {port} answered {answer.status} {text[:200]!r} to {asked}")
        if not got[5] or got[5] in ids or not got[6]:
            raise Failed(f"port {port} gave no request id of its own or no trace id: {got[5:7]}")
        if mtls and not (f"By={SERVER}" in got[7] and f"URI={CLIENT}" in got[7] and re.search(r"Hash=[0-9a-f]{64}", got[7])):
            raise Failed(f"port {port} gave the certificate header {got[7]!r}")
        ids.add(got[5])
        sent.add((asked[3], method, asked[1], asked[4] or "-"))
    client.request("GET", "/api/64k", headers={"Host": hosts[0]})
    if client.getresponse().read() != large:
        raise Failed(f"port {port} did not give the 64 KiB that the backend gave")
    client.close()
    return sent


def check_copies(marked: list[tuple[str, ...]], sent: set[tuple[str, ...]]) -> None:
    """Raises Failed unless the mirror got each of the requests once, and no others."""
    if Counter(marked) != Counter(sent):
        raise Failed(f"of {len(sent)} copies {len(sent - set(marked))} are missing, {len(marked) - len(set(marked) & sent)} are too many")
