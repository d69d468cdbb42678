"""The public names."""

from __future__ import annotations

import importlib
import re
import types

import oxidivert as od
import pytest
from samples import PROJECT

MODULES = ["oxidivert", "oxidivert.build", "oxidivert.helpers"]
# Classes that are written in Python keep the module that they are in.
PRIVATE_MODULES = [
    "oxidivert._enums",
    "oxidivert._exceptions",
    "oxidivert._expression",
    "oxidivert._process",
    "oxidivert._reflection",
]


@pytest.mark.parametrize("name", MODULES)
def test_all_is_sorted_and_equals_what_can_be_imported(name: str) -> None:
    module = importlib.import_module(name)
    public = [
        key
        for key, value in vars(module).items()
        if (not key.startswith("_") and not (isinstance(value, types.ModuleType) and key not in module.__all__))
        or key == "__version__"
    ]
    assert sorted(public) == sorted(module.__all__)
    assert module.__all__ == sorted(module.__all__)


def test_classes_report_the_public_module() -> None:
    for name in od.__all__:
        value = getattr(od, name)
        if isinstance(value, type) and value.__module__ not in PRIVATE_MODULES:
            assert value.__module__ == "oxidivert", name


def test_everything_public_is_documented() -> None:
    missing = []
    for module in map(importlib.import_module, MODULES):
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, str):
                continue
            if not value.__doc__:
                missing.append(name)
            if isinstance(value, type) and value.__module__ == "oxidivert":
                members = [key for key in vars(value) if not key.startswith("_")]
                missing += [f"{name}.{key}" for key in members if not getattr(value, key).__doc__]
    assert missing == []


def test_the_version_is_the_newest_in_the_changelog() -> None:
    newest = re.search(r"^## \[?(\d+\.\d+\.\d+)", (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert newest is not None
    assert newest.group(1) == od.__version__
