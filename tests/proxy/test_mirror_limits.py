"""Copies are bounded: in number, in what they hold, and in memory."""

import gc
import tracemalloc
from typing import Any

from tests.proxy.mirrors import GET, OK, POST, both


class TestSlowReader:
    """A mirror that does not read."""

    def test_never(self, mirrored: Any) -> None:
        """It is cut when it lags by the window; the primary gets all, at its own pace."""
        size = 2_000_000
        client, primary, mirror = both(mirrored, POST % size)
        mirror.room = 0
        sent = 0
        while sent < size:
            mirrored.say(client, bytes(50_000))
            sent += 50_000
            assert len(primary.sent) >= sent
        assert mirror.was_reset and mirrored.outcomes() == {"window": 1}
        mirrored.say(primary, OK)
        assert client.heard().endswith(b"ok")
        mirrored.at_rest()

    def test_not_connected(self, mirrored: Any) -> None:
        """What waits for a connection counts too."""
        client = mirrored.client(POST % 2_000_000)
        mirrored.accept()
        for _ in range(5):
            mirrored.say(client, bytes(50_000))
        assert mirrored.outcomes() == {"window": 1}
        mirror = mirrored.accept()
        assert mirror.heard() == b""

    def test_in_time(self, mirrored: Any) -> None:
        """One that reads again in time gets all, in order."""
        size = 250_000
        client, primary, mirror = both(mirrored, POST % size)
        mirror.room = 1000
        body = bytes(range(250)) * 1000
        for at in range(0, size, 25_000):
            mirrored.say(client, body[at : at + 25_000])
        mirrored.drain(mirror, 50_000)
        heard = mirror.heard()
        assert not mirror.was_reset
        mirrored.say(primary, OK)
        mirror.room = 1 << 30
        mirrored.loop.turn()
        mirrored.say(mirror, OK)
        assert mirrored.outcomes() == {"2xx": 1} and heard == b""
        mirrored.at_rest()

    def test_order(self, mirrored: Any) -> None:
        """Bytes that waited come before those that did not."""
        client, _, mirror = both(mirrored, POST % 240_000)
        body = bytes(range(240)) * 1000
        mirror.room = 10
        got = b""
        for at in range(0, 240_000, 20_000):
            mirrored.say(client, body[at : at + 20_000])
            if at % 60_000 == 0:
                mirror.room += 70_000
                mirrored.loop.turn()
        mirror.room = 1 << 30
        mirrored.loop.turn()
        got = mirror.heard().partition(b"\r\n\r\n")[2]
        assert got == body

    def test_hangs_up_in_pause(self, mirrored: Any) -> None:
        """One that breaks while it does not read ends the copy only."""
        client, primary, mirror = both(mirrored, POST % 1_000_000)
        mirror.room = 0
        mirrored.say(client, bytes(100_000))
        mirrored.reset(mirror)
        mirrored.say(client, bytes(100_000))
        assert mirrored.outcomes() == {"connection_termination": 1} and len(primary.sent) > 200_000

    def test_answers_early(self, mirrored: Any) -> None:
        """One that answers before the request is whole is done; the rest of the request is not for it."""
        client, primary, mirror = both(mirrored, POST % 8 + b"half")
        mirrored.say(mirror, OK)
        sent = len(mirror.sent)
        mirrored.say(client, b"rest")
        assert len(mirror.sent) == sent and primary.heard().endswith(b"halfrest") and mirrored.outcomes() == {"2xx": 1}
        mirrored.say(primary, OK)
        assert client.heard().endswith(b"ok")
        mirrored.at_rest()


class TestLimits:
    """How many, and how much."""

    def test_in_flight(self, mirrored: Any) -> None:
        """No more than the limit run for a cluster; the next is dropped and counted. When one ends, there is room again."""
        clients = [mirrored.client(GET) for _ in range(5)]
        assert mirrored.drops() == {"limit": 1} and len(mirrored.loop.dials) == 9
        mirror = next(dial for dial in mirrored.loop.dials if dial.address.port == 81).accept()
        mirrored.say(mirror, OK)
        mirrored.client(GET)
        assert mirrored.drops() == {"limit": 1} and len(clients) == 5

    def test_limit_of_each_cluster(self, mesh: Any) -> None:
        """Each cluster has its own."""
        mesh.cluster("b", 81)
        mesh.cluster("c", 82)
        mesh.route(mirrors=["b"] * 5 + ["c"])
        mesh.client(GET)
        assert mesh.drops() == {"limit": 1} and [dial.address.port for dial in mesh.loop.dials].count(82) == 1

    def test_memory_of_a_finished_exchange(self, mirrored: Any) -> None:
        """A copy that runs on holds neither its exchange nor the body that was sent."""
        client, primary, _ = both(mirrored, POST % 100_000)
        exchange = client.transport.protocol.exchange
        mirrored.say(client, bytes(100_000))
        copy = exchange.copies[0]
        mirrored.say(primary, OK)
        del exchange
        assert copy._backlog == [] and copy._head == b"" and copy._answer is not None and copy._exchange is None
        assert not [each for each in gc.get_referrers(copy) if type(each).__name__ == "Exchange" and not each.finished]

    def test_memory_in_the_long_run(self, mirrored: Any) -> None:
        """Ten thousand copies leave nothing behind."""
        client, primary, mirror = both(mirrored)

        def play(count: int) -> None:
            for _ in range(count):
                for wire in (mirror, primary):
                    mirrored.say(wire, OK)
                    wire.heard()
                client.heard()
                mirrored.log.records.clear()
                mirrored.say(client, GET)

        play(50)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        play(300)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert grown < 60_000
