"""Who sends what, as the source says it.

Annotations do not: a handler returns `list[Message]`. So the messages of a handler are those that
it, the functions that it calls and methods of its service's rows mention in a call: made there, or
passed on as a class. All branches count, and every row's method of a name that is called. Of
modules without handlers, such as an API or the admin, each is taken to send the commands that it
imports.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings

from .errors import ContractError
from .messages import Contract, contract_named
from .registry import handlers

ASKING = {"isinstance", "issubclass"}
"""Calls that mention a class without passing it on."""


@dataclass(frozen=True)
class Source:
    """A module's source: its functions, and where the names come from that it imports.

    Methods stand among the functions, with a dot before their names.
    """

    name: str
    tree: ast.Module
    functions: dict[str, list[ast.AST]]
    imported: dict[str, tuple[str, str]]
    """By its name here: the module that something comes from, and its name there."""


def made_by(function: Callable[..., Any]) -> set[str]:
    """The names of the messages that a function, or a lambda, may make."""
    module = source(function.__module__)
    if module is None:
        return set()
    line = function.__code__.co_firstlineno
    found = module.functions.get(function.__name__) or [
        node
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Lambda) and node.lineno == line
    ]
    return {name for node in found for name in _made(module, node, set())}


def doors() -> Iterator[tuple[str, str]]:
    """Modules without handlers, each with the name of a command that it sends."""
    reacting = {handler.function.__module__ for handler in handlers()}
    for config in _ours():
        for file in sorted(Path(config.path).rglob("*.py")):
            name = ".".join([config.name, *file.relative_to(config.path).with_suffix("").parts])
            if name in reacting:
                continue
            for origin in _read(name, file).imported.values():
                contract = _contract(origin)
                if contract is not None and contract.kind == "command":
                    yield name, contract.name


@cache
def source(name: str) -> Source | None:
    """A module of this project, read and not run; None for one of a library or of the kernel."""
    for config in _ours():
        if name.startswith(f"{config.name}."):
            rest = name.removeprefix(f"{config.name}.").split(".")
            file = Path(config.path, *rest).with_suffix(".py")
            return _read(name, file) if file.exists() else None
    return None


def _ours() -> list[AppConfig]:
    """The project's applications, but for the kernel."""
    return [
        config
        for config in apps.get_app_configs()
        if config.label != "messaging"
        and Path(config.path).is_relative_to(settings.BASE_DIR)
        and "site-packages" not in config.path
    ]


def _read(name: str, file: Path) -> Source:
    tree = ast.parse(file.read_text())
    functions: dict[str, list[ast.AST]] = defaultdict(list)
    for each in tree.body:
        if isinstance(each, ast.FunctionDef):
            functions[each.name].append(each)
        for method in each.body if isinstance(each, ast.ClassDef) else ():
            if isinstance(method, ast.FunctionDef):
                functions[f".{method.name}"].append(method)
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    imported: dict[str, tuple[str, str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            origin = resolve_name("." * node.level + (node.module or ""), package)
            imported |= {each.asname or each.name: (origin, each.name) for each in node.names}
    return Source(name, tree, functions, imported)


def _made(module: Source, node: ast.AST, seen: set[tuple[str, str]]) -> Iterator[str]:
    for call in ast.walk(node):
        if not isinstance(call, ast.Call) or ast.unparse(call.func) in ASKING:
            continue
        for mentioned in (call.func, *call.args, *(keyword.value for keyword in call.keywords)):
            origin = _origin(module, mentioned)
            if origin is None or origin in seen:
                continue
            if contract := _contract(origin):
                yield contract.name
                continue
            seen.add(origin)
            there = source(origin[0])
            if there is not None:
                for function in there.functions.get(origin[1], ()):
                    yield from _made(there, function, seen)


def _origin(module: Source, node: ast.AST) -> tuple[str, str] | None:
    """The module and name that an expression such as `begin`, `saga.begin` or `row.begin` stands
    for."""
    match node:
        case ast.Name(id=name) if name in module.functions:
            return module.name, name
        case ast.Name(id=name):
            return module.imported.get(name)
        case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in module.imported:
            return ".".join(module.imported[name]), attribute
        case ast.Attribute(attr=attribute):
            return f"{module.name.partition('.')[0]}.models", f".{attribute}"
    return None


def _contract(origin: tuple[str, str]) -> Contract | None:
    service, _, module = origin[0].rpartition(".")
    try:
        return contract_named(f"{service}.{origin[1]}") if module == "contracts" else None
    except ContractError:
        return None
