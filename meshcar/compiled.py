"""The data path in two forms of the same files: as they are written, and as mypyc compiled them, which halves its cost.

What was compiled lies beside what is written, and runs in its place. It is passed over where MESHCAR_PURE=1 asks for that (to step
through the code, to measure coverage), and where a file has been changed since. setup.py compiles; docs/performance.md has the numbers.
"""

import hashlib
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path

MODULES = tuple(
    f"meshcar.{name}"
    for name in (
        "latest wire.clienthello wire.grpc wire.head wire.hops wire.http1_body wire.http1_read wire.http1_write wire.path "
        "wire.single wire.trace "
        "policy.balance policy.deadline policy.outliers policy.retry "
        "observe.accesslog observe.counters observe.record observe.traffic "
        "net.outgoing net.timeouts net.tls_records net.transport net.turn "
        "upstream.agent upstream.cluster upstream.endpoint upstream.h1 upstream.resolve "
        "proxy.exchange proxy.inbound proxy.mirror proxy.outbound proxy.replies proxy.session proxy.side proxy.tries"
    ).split()
)
"""Whatever runs for each request. They are compiled together, as they call each other without asking for a name."""
STAMP = "compiled.stamp"
"""The file, beside this one, that says of what the compiled form was made."""

PURE = "MESHCAR_PURE"
"""The variable that asks for the written form, by 1."""

HERE = Path(__file__).parent


def digest(package: Path) -> str:
    """Stands for the contents of the files of MODULES in the folder of the package."""
    whole = hashlib.blake2b(digest_size=16)
    for name in MODULES:
        whole.update(_file(package, name).read_bytes())
    return whole.hexdigest()


def form() -> str:
    """`compiled` or `interpreted`, as the data path was imported."""
    module = sys.modules.get(MODULES[0])
    return "interpreted" if module is None or str(module.__file__).endswith(".py") else "compiled"


def choose() -> None:
    """Called before the first of MODULES is imported: sees to it that their written form is, if that is wanted or the other one is old."""
    if os.environ.get(PURE) == "1" or not is_fresh():
        sys.meta_path.insert(0, Written())


def is_fresh() -> bool:
    """Whether there is a compiled form, and it is that of the files as they are."""
    try:
        return (HERE / STAMP).read_text() == digest(HERE)
    except OSError:
        return False


class Written:
    """An import hook that finds the written form of MODULES, whatever lies beside it."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """Source: importlib's MetaPathFinder."""
        return spec_from_file_location(name, _file(HERE, name)) if name in MODULES else None


def _file(package: Path, name: str) -> Path:
    return package.joinpath(*name.split(".")[1:]).with_suffix(".py")
