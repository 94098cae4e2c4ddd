"""A web server that fails as its path says: `python fail_on_purpose.py PORT`. GET /seen tells and forgets what it was asked.

/status/CODE, /grpc/STATUS, /header/NAME, /reset, /garbage, /sleep/SECONDS; `/NUMBER-then-ok/...` fails that many times, by query, first.
"""

import asyncio
import json
import sys
import time
from typing import Any

Seen = dict[str, Any]
_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """Remembers each request: method, path, headers, the body's length, and when it came (seconds)."""

    def __init__(self) -> None:
        self._seen: list[Seen] = []
        self._failed: dict[str, int] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                await self._one(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        method, path, _ = first.split(" ")
        headers = dict(line.split(": ", 1) for line in lines if ": " in line)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if path == "/seen":
            told, self._seen = json.dumps(self._seen).encode(), []
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(told), told))
            return
        self._seen.append({"method": method, "path": path, "headers": headers, "body": len(body), "at": time.monotonic()})
        await self._answer(path, writer)
        await writer.drain()

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        steps = path.partition("?")[0].strip("/").split("/")
        if steps[0].endswith("-then-ok"):
            times = self._failed[path] = self._failed.get(path, 0) + 1
            if times > int(steps.pop(0).partition("-")[0]):
                del self._failed[path]
                steps = [""]
        kind, what = steps[0], steps[-1]
        if kind == "reset":
            writer.transport.abort()
        elif kind == "garbage":
            writer.write(b"what?\r\n\r\n")
        elif kind == "status":
            writer.write(_OK.replace(b"200 OK", what.encode() + b" -", 1))
        elif kind == "grpc":
            writer.write(_OK.replace(b"content", b"content-type: application/grpc\r\ngrpc-status: %b\r\ncontent" % what.encode(), 1))
        elif kind == "header":
            writer.write(_OK.replace(b"content", b"%b: 1\r\ncontent" % what.encode(), 1))
        else:
            if kind == "sleep":
                await asyncio.sleep(float(what))
            writer.write(_OK)


async def main(port: int) -> None:
    """Serves for ever."""
    server = await asyncio.start_server(Server().serve, "127.0.0.1", port, limit=1 << 22)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
