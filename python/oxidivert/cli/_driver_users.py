"""Who has handles of the driver: asked of the driver itself, by its layer REFLECT."""

from __future__ import annotations

import dataclasses

import oxidivert as od


@dataclasses.dataclass(frozen=True)
class User:
    """An open handle, of whichever program."""

    process_id: int
    layer: str
    priority: int
    flags: int
    filter: str

    def __str__(self) -> str:
        names = [flag.name for flag in od.Flag if self.flags & flag and flag.name]
        flags = f" {'+'.join(names)}" if names else ""
        return f"process {self.process_id}  {self.layer}{flags}  priority {self.priority}  {self.filter}"

    def as_dict(self) -> dict[str, object]:
        """The same under stable names."""
        return dataclasses.asdict(self)


def users() -> list[User]:
    """All open handles; none if the driver does not run. Does not start it."""
    flags = od.Flag.SNIFF | od.Flag.RECV_ONLY | od.Flag.NO_INSTALL
    found = []
    try:
        with od.open(layer=od.Layer.REFLECT, flags=flags) as handle:
            # The driver first tells of all handles that are open, and only then lets the shutdown take effect.
            handle.shutdown(od.Shutdown.BOTH)
            for event in handle:
                found.append(
                    User(
                        event.process_id,
                        event.layer.name,
                        event.priority,
                        int(event.flags),
                        str(event.filter) if event.filter is not None else "a filter that cannot be read",
                    )
                )
    except od.DivertError as error:
        if error.symbol != "ERROR_SERVICE_DOES_NOT_EXIST":
            raise
    return found
