"""Where twistd comes in: options to the one service."""

from typing import Any

from twisted.application.service import IService

from meshcar.app.options import Options, refuse
from meshcar.app.world import World
from meshcar.errors import SettingsError
from meshcar.net.reactor import install

__all__ = ["Options", "makeService"]


def makeService(options: Options, reactor: Any = None) -> IService:
    """The sidecar, its ports bound, not started. The only function that imports the global reactor."""
    if reactor is None:
        install()
        from twisted.internet import reactor
    try:
        return World(reactor, options.settings, options.log_levels)  # type: ignore[return-value]
    except SettingsError as e:
        refuse(e)
