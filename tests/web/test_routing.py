"""What the router asks of those who declare operations."""

from __future__ import annotations

import pytest
from ninja.errors import ConfigError

from ecommerce.web import ApiRequest, Router, allow, public
from ecommerce.web.access import access_table
from ecommerce.web.routing import Api
from tests.web import shop


def answer(request: ApiRequest) -> None:
    """Answer."""


def answer_thing(request: ApiRequest, thing_id: str) -> None:
    """Answer about a thing."""


def answer_other(request: ApiRequest, other_id: str) -> None:
    """Answer about another."""


def test_an_operation_without_a_rule_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not say who may call it"):
        Router().get("/open")(answer)


def test_a_rule_for_nobody_in_particular_must_be_said_as_public() -> None:
    with pytest.raises(ValueError, match="auth=public"):
        allow()


def test_two_services_may_share_an_address_but_must_agree_on_its_ids() -> None:
    first, second = Router(), Router()
    first.get("/things/{thing_id}", auth=public)(answer_thing)
    second.delete("/things/{other_id}", auth=public)(answer_other)
    api = Api(urls_namespace="disagreeing")
    api.add_router("", first)
    api.add_router("", second)

    with pytest.raises(ConfigError, match="are one address"):
        _ = api.urls


def test_the_access_table_has_every_operation_with_its_rule() -> None:
    rows = [(row.method, row.path, str(row.rule)) for row in access_table(shop.api)]

    assert ("DELETE", "/api/things/{customer_id}", "`operations`") in rows
    assert ("GET", "/api/things/{customer_id}", "`orders:read` or `operations`") in rows
    assert ("GET", "/api/who", "everyone") in rows
    assert len(rows) == 9


def test_the_api_document_names_problems_scopes_and_keys() -> None:
    document = shop.api.get_openapi_schema(path_prefix="/api/")
    make, get = document["paths"]["/api/things"]["post"], document["paths"]["/api/who"]["get"]

    assert make["security"] == [{"token": ["orders:write"]}]
    assert [parameter["name"] for parameter in make["parameters"]] == ["Idempotency-Key"]
    assert set(make["responses"]) == {201, 400, 401, 403, 409, 422}
    assert "application/problem+json" in make["responses"][422]["content"]
    assert "security" not in get
    assert document["components"]["schemas"]["Problem"]["properties"]["correlationId"]
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
