"""Our contract beside a tenant's Swagger: nothing is reported where they agree, and each difference is named."""

import copy
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from plugin.engage.contract.compare import differences, inferred_operations, read_document
from plugin.errors import ConfigurationError


@pytest.fixture
def document() -> dict[str, Any]:
    text = files("plugin.engage").joinpath("contract/engage-v3.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def test_an_equal_document_has_no_differences(document: dict[str, Any]) -> None:
    assert differences(document) == []


def test_the_same_api_under_another_root_has_no_differences(document: dict[str, Any]) -> None:
    document["paths"] = {path.replace("/api/v3", ""): item for path, item in document["paths"].items()}
    document["servers"] = [{"url": "https://acme.staging.voyado.com/api/v3"}]
    assert differences(document) == []
    document["paths"] = {"/api/v{version}" + path: item for path, item in document["paths"].items()}
    document["servers"] = []
    assert differences(document) == []


def test_a_missing_path_names_the_nearest(document: dict[str, Any]) -> None:
    document["paths"]["/api/v3/receipt"] = document["paths"].pop("/api/v3/receipts")
    (found,) = differences(document)
    assert (found.operation, found.serious) == ("create_receipt", True)
    assert "nearest: POST /receipt" in found.what
    assert "operations.py" in found.todo


def test_query_names_are_compared_both_ways(document: dict[str, Any]) -> None:
    query = document["paths"]["/api/v3/contacts/id"]["get"]["parameters"]
    renamed = next(p for p in query if p.get("name") == "email")
    renamed["name"] = "emailAddress"
    query.append({"name": "tenant", "in": "query", "required": True, "schema": {"type": "string"}})
    query.append({"name": "locale", "in": "query", "required": False, "schema": {"type": "string"}})
    assert {difference.what for difference in differences(document)} == {
        "the query parameter email is not there",
        "the query parameter tenant is required there",
    }


def test_fields_of_bodies_and_answers_are_compared(document: dict[str, Any]) -> None:
    receipt = document["components"]["schemas"]["Receipt"]["properties"]
    receipt["usedVouchers"] = receipt.pop("usedRewardVouchers")
    receipt["Currency"] = receipt.pop("currency")
    found = [d for d in differences(document) if d.operation == "create_receipt"]
    assert {d.what for d in found if d.what.startswith("the body")} >= {
        "the body field usedRewardVouchers is not there",
        "the body field currency is spelt Currency there",
    }
    assert not any(d.serious for d in found)


def test_swagger_2_is_supported() -> None:
    swagger = {
        "swagger": "2.0",
        "basePath": "/api/v3",
        "paths": {
            "/receipts": {
                "post": {
                    "parameters": [{"name": "receipt", "in": "body", "schema": {"$ref": "#/definitions/R"}}],
                    "responses": {"200": {"schema": {"type": "string"}}},
                }
            }
        },
        "definitions": {"R": {"required": ["cashier"], "properties": {"uniqueReceiptId": {}, "cashier": {}}}},
    }
    found = [d.what for d in differences(swagger) if d.operation == "create_receipt"]
    assert "the body field cashier is required there" in found
    assert "the body field totalGrossPrice is not there" in found
    assert not any("missing" in what for what in found)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"{", b'{"paths": []}', b"a: &a [*a]"])
def test_a_file_that_is_not_swagger_is_a_configuration_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "swagger.json"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"swagger\.json"):
        read_document(path)


@pytest.mark.parametrize(
    "content",
    [
        b'{"paths": {"/x": {"get": null, "post": {"parameters": [1], "requestBody": {"$ref": "#/nowhere"}}}}}',
        b'{"paths": {"/api/v3/receipts": {"post": {"requestBody": {"$ref": "#/paths"}, "responses": []}}}}',
    ],
)
def test_a_malformed_swagger_differs_without_a_crash(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "swagger.json"
    path.write_bytes(content)
    assert differences(read_document(path))


def test_circular_references_end(document: dict[str, Any], tmp_path: Path) -> None:
    circular = copy.deepcopy(document)
    circular["components"]["schemas"]["Receipt"]["allOf"] = [{"$ref": "#/components/schemas/Receipt"}]
    circular["components"]["schemas"]["A"] = {"$ref": "#/components/schemas/A"}
    path = tmp_path / "swagger.json"
    path.write_text(json.dumps(circular))
    assert differences(read_document(path)) == []


def test_every_inferred_operation_says_what_to_compare(document: dict[str, Any]) -> None:
    wholly = {
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
        if operation.get("x-confidence") == "inferred"
    }
    listed = inferred_operations()
    assert all(operation.compare for operation in listed)
    assert {operation.operation for operation in listed if operation.whole} >= {"list_promotion_assignments"}
    assert len([operation for operation in listed if operation.whole]) <= len(wholly)
