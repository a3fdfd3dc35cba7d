"""The router that services declare their operations on, and the API they are mounted on."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import ninja
from ninja.constants import NOT_SET
from ninja.errors import ConfigError
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import PathView
from ninja.router import BoundRouter

from . import problems
from .access import Rule, public
from .rendering import JSONParser, JSONRenderer
from .schemas import Problem

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
IDEMPOTENCY_KEY = {
    "in": "header",
    "name": "Idempotency-Key",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "The same key with the same body gives the same answer again, for 24 hours.",
}
TOKEN_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token made with `manage.py createtoken`. A signed-in session works as well; "
    "its writes need the CSRF token.",
}


class Router(ninja.Router):
    """Ninja's router with our defaults: camelCase, an explicit rule, documented problems."""

    def __init__(self, **options: Any) -> None:
        super().__init__(by_alias=True, **options)

    def add_api_operation(
        self, path: str, methods: list[str], view_func: Callable[..., Any], **options: Any
    ) -> None:
        """Declare an operation. Raises ConfigError when nothing says who may call it."""
        rule = options.get("auth", NOT_SET)
        if not isinstance(rule, Rule):
            raise ConfigError(
                f"{', '.join(methods)} {path} does not say who may call it: "
                "give auth=allow(<scope>) or auth=public"
            )
        options["operation_id"] = options.get("operation_id") or view_func.__name__
        summary, description = _described(view_func)
        options["summary"] = options.get("summary") or summary
        options["description"] = options.get("description") or description
        options["openapi_extra"] = _documented(
            path, methods, rule, dict(options.get("openapi_extra") or {})
        )
        super().add_api_operation(path, methods, view_func, **options)


class Api(ninja.NinjaAPI):
    """The one API that all services' routers are mounted on."""

    def __init__(self, **options: Any) -> None:
        super().__init__(renderer=JSONRenderer(), parser=JSONParser(), auth=public, **options)
        problems.register(self)

    def _get_bound_routers(self) -> list[BoundRouter]:
        if self._bound_routers_cache is None:
            _join_paths(super()._get_bound_routers())
        return super()._get_bound_routers()

    def get_openapi_schema(self, **options: Any) -> OpenAPISchema:
        """The OpenAPI document, with what Ninja does not know of."""
        document = super().get_openapi_schema(**options)
        schemas = Problem.model_json_schema(
            ref_template="#/components/schemas/{model}", mode="serialization"
        )
        components = document["components"]
        components["schemas"].update(schemas.pop("$defs"), Problem=schemas)
        components["securitySchemes"] = {"token": TOKEN_SCHEME}
        return document


def _join_paths(routers: list[BoundRouter]) -> None:
    """Let two services answer at one address, each to its own methods.

    Django stops at the first pattern that fits, so the address must have one view.
    """
    seen: dict[str, tuple[str, PathView]] = {}
    for router in routers:
        for path, view in list(router.path_operations.items()):
            address = f"{router.prefix}{path}"
            shape = re.sub(r"{[^}]*}", "{}", address)
            if shape not in seen:
                seen[shape] = (address, view)
                continue
            first, joined = seen[shape]
            if first != address:
                raise ConfigError(f"{address} and {first} are one address: name its ids alike")
            joined.operations += view.operations
            del router.path_operations[path]


def _documented(path: str, methods: list[str], rule: Rule, extra: dict[str, Any]) -> dict[str, Any]:
    extra["responses"] = _problems(path, methods, rule) | extra.get("responses", {})
    if rule.scopes:
        extra["security"] = [{"token": [scope]} for scope in rule.scopes]
    if extra.pop("idempotency", True) and WRITES.intersection(methods):
        extra["parameters"] = [*extra.get("parameters", []), IDEMPOTENCY_KEY]
    return extra


def _problems(path: str, methods: list[str], rule: Rule) -> dict[int, Any]:
    statuses = {422: "A field is not acceptable"}
    if rule.scopes:
        statuses |= {401: "No valid credential", 403: "The caller lacks the scope"}
    if "{" in path:
        statuses[404] = "There is no such thing"
    if WRITES.intersection(methods):
        statuses |= {400: "The body is not JSON", 409: "The state does not allow this"}
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": text, "content": content}
        for status, text in sorted(statuses.items())
    }


def _described(view: Callable[..., Any]) -> tuple[str | None, str]:
    """The docstring's first line, and the rest of it."""
    first, _, rest = (inspect.getdoc(view) or "").partition("\n")
    return first.rstrip(".") or None, rest.strip() or first
