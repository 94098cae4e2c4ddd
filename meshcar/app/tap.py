"""Where twistd comes in: options to the one service."""

import linecache
import os
from typing import Any

from twisted.application.service import IService

from meshcar.app.options import Options, refuse
from meshcar.app.settings import Settings
from meshcar.app.world import World
from meshcar.errors import SettingsError
from meshcar.net.handover import Predecessor
from meshcar.net.inherited import Inherited, first_environment, from_environment
from meshcar.net.reactor import install

__all__ = ["Options", "makeService"]


def makeService(options: Options, reactor: Any = None) -> IService:
    """The sidecar, its ports bound, not started."""
    linecache.clearcache()  # attrs leaves the source of each method that it makes there: 0.9 MiB, here before they are needed
    if reactor is None:
        reactor = global_reactor()
    try:
        return World(reactor, options.settings, options.log_levels, *_inheritance(options.settings))  # type: ignore[return-value]
    except SettingsError as e:
        refuse(e)


def global_reactor() -> Any:
    """The one that runs this process: ours, installed now. The only function that imports it."""
    install()
    from twisted.internet import reactor

    return reactor


def _inheritance(settings: Settings) -> tuple[Inherited, Predecessor | None]:
    """Sockets from systemd, or from the process before this one. Raises SettingsError."""
    inherited = from_environment(first_environment(), os.getpid())
    if settings.handover is None:
        return inherited, None
    if inherited:
        raise SettingsError("--handover: not where LISTEN_FDS are passed; systemd keeps the sockets between processes")
    predecessor = Predecessor.ask(str(settings.handover))
    return (inherited, None) if predecessor is None else (Inherited(predecessor.sockets, ours=True), predecessor)
