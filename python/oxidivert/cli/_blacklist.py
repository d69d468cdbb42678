"""Lists of hosts and URLs that are not to be reached."""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator

from ._errors import CommandError

_DOMAIN = frozenset(string.ascii_letters + string.digits + "-.")
_DOMAIN_FIRST = frozenset(string.ascii_letters + string.digits + "-")
_LENGTH_MAX = 4096


def entries(text: str) -> Iterator[tuple[str, str]]:
    """The entries of a list: domain and beginning of the path, without its first slash.

    Entries are words, `example.com` or `example.com/path`; what is no such word is left out, and so is what follows a
    `#` in its line. A domain is in lower case and has no point at its end.
    """
    for line in text.splitlines():
        for word in line.partition("#")[0].split():
            domain, slash, path = word.partition("/")
            is_domain = bool(domain) and domain[0] in _DOMAIN_FIRST and _DOMAIN.issuperset(domain)
            if is_domain and len(domain) <= _LENGTH_MAX and len(path) <= _LENGTH_MAX:
                yield domain.lower().rstrip("."), path if slash else ""


class Blacklist:
    """Hosts and paths; a look-up takes as many steps as the host has labels, however long the list is."""

    def __init__(self, added: Iterable[tuple[str, str]] = ()) -> None:
        self._paths: dict[str, list[str]] = {}
        for domain, path in added:
            self._paths.setdefault(domain, []).append(path)

    def __len__(self) -> int:
        return sum(map(len, self._paths.values()))

    def blocks(self, host: str, path: str) -> bool:
        """Whether an entry is the host or a domain that it is in, and begins the path (which has its first slash)."""
        labels = host.lower().rstrip(".").split(".")
        for start in range(len(labels)):
            for beginning in self._paths.get(".".join(labels[start:]), ()):
                if path.startswith("/" + beginning):
                    return True
        return False


def read_lists(paths: Iterable[str]) -> list[tuple[str, str]]:
    """The entries of files."""
    found: list[tuple[str, str]] = []
    for path in paths:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                found += entries(file.read())
        except OSError as error:
            raise CommandError(f"cannot read the list {path}: {error.strerror}") from None
    return found
