"""What rules do to headers, as `explain` tells it."""

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from meshcar.rules.policies import HeaderChange, Operation
from meshcar.wire.formats import Command, Format
from meshcar.wire.head import PSEUDO_HEADERS, RequestHead


@attrs.frozen
class Changes:
    """Headers that are set, added (values of one name joined by commas) and removed. `authority` is a Host that is set, or None."""

    set: dict[str, str] = attrs.field(factory=dict)
    added: dict[str, str] = attrs.field(factory=dict)
    removed: tuple[str, ...] = ()
    authority: bytes | None = None

    def __bool__(self) -> bool:
        return bool(self.set or self.added or self.removed or self.authority)

    def entry(self) -> dict[str, Any]:
        """As JSON has it, but for the Host."""
        return {"headers_set": dict(self.set), "headers_added": dict(self.added), "headers_removed": list(self.removed)}

    def without(self, others: "Changes") -> "Changes":
        """What is not among others."""
        return Changes(
            {name: value for name, value in self.set.items() if others.set.get(name) != value},
            {name: value for name, value in self.added.items() if others.added.get(name) != value},
            tuple(name for name in self.removed if name not in others.removed),
            self.authority if self.authority != others.authority else None,
        )


def changes(of: Iterable[HeaderChange | None], head: RequestHead) -> Changes:
    """What all of some changes have in common, for a request; of a single one everything."""
    each = [change.operations if change is not None else () for change in of]
    common = [operation for operation in each[0] if all(operation in others for others in each[1:])] if each else []
    return _summed(common, head)


def _summed(operations: Sequence[Operation], head: RequestHead) -> Changes:
    """What operations come to. Values are made of the head without what is removed before; one that is empty changes nothing."""
    written: dict[str, str] = {}
    added: dict[str, str] = {}
    removed: dict[str, None] = {}
    authority = None
    for kind, name, form in operations:
        word = name.decode()
        if kind == "remove":
            removed[word] = None
            head = head.with_headers([one for one in head.headers if one[0] != name])
        elif name in (b":authority", b"host"):
            authority = filled(form, head)
        elif value := text(filled(form, head)):
            if kind == "set":
                written[word] = value
            else:
                added[word] = f"{added[word]},{value}" if word in added else value
    return Changes(written, added, tuple(removed), authority)


def filled(form: Format, head: RequestHead) -> bytes:
    """A header's value, as far as the request alone tells it: other operators stay as they are written."""
    return b"".join(part if isinstance(part, bytes) else _filled(part, head) for part in form)


def text(value: bytes) -> str:
    """Bytes of a message as text; what is not UTF-8 is replaced."""
    return value.decode("utf-8", "replace")


def _filled(command: Command, head: RequestHead) -> bytes:
    if command.name != "REQ":
        return _written(command)
    names = (command.argument or "").lower().encode().split(b"?")
    found = next((value for value in (_value(name, head) for name in names) if value is not None), b"")
    return found if command.length is None else found[: command.length]


def _value(name: bytes, head: RequestHead) -> bytes | None:
    pseudo = PSEUDO_HEADERS.get(name)
    return head.get(name) if pseudo is None else pseudo(head)


def _written(command: Command) -> bytes:
    argument = "" if command.argument is None else f"({command.argument})"
    length = "" if command.length is None else f":{command.length}"
    return f"%{command.name}{argument}{length}%".encode()
