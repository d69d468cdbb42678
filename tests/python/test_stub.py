"""The stub carries the docstrings that the compiled module has."""

from __future__ import annotations

import ast
import inspect
import pathlib

from oxidivert import _native


def documented(tree: ast.Module) -> dict[str, str | None]:
    """Every definition of the stub and its docstring; of overloads and setters the first."""
    found: dict[str, str | None] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found.setdefault(node.name, ast.get_docstring(node))
        elif isinstance(node, ast.ClassDef):
            found[node.name] = ast.get_docstring(node)
            for member in node.body:
                if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                    found.setdefault(f"{node.name}.{member.name}", ast.get_docstring(member))
    return found


def test_the_docstrings_of_the_stub_are_those_of_the_module() -> None:
    stub = pathlib.Path(_native.__file__).with_name("_native.pyi")
    different = []
    for name, docstring in documented(ast.parse(stub.read_text(encoding="utf-8"))).items():
        value: object = _native
        for part in name.split("."):
            value = getattr(value, part)
        if inspect.cleandoc(value.__doc__ or "") != (docstring or ""):
            different.append(name)
    assert different == []
