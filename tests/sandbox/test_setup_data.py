"""Stores and consent definitions."""

import pytest
from support.sandbox_client import Engage, code


def test_created_store_is_listed_and_read(engage: Engage) -> None:
    store = {"name": "Web Sweden", "externalId": "web-se", "timeZone": "Europe/Stockholm", "type": "ECOMM"}
    created = engage.post("stores", {**store, "countryCode": "SE"}).json()
    assert store.items() <= created.items()
    assert engage.get("stores").json() == [created]
    assert engage.get("stores/web-se").json() == created
    assert code(engage.get("stores/web-no")) == (404, "StoreNotFound")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"name": "Web"}, "MissingExternalId"),
        ({"externalId": "web-no"}, "MissingName"),
        ({"externalId": "web-no", "name": "Web", "city": 7}, "InvalidStore"),
        ({"externalId": "web-se", "name": "Web"}, "StoreAlreadyExists"),
    ],
)
def test_store_that_does_not_fit_is_refused(engage: Engage, body: dict[str, object], expected: str) -> None:
    engage.seed(stores=[{"externalId": "web-se", "name": "Web Sweden"}])
    assert code(engage.post("stores", body)) == (400, expected)


def test_inactive_stores_are_shown_on_request(engage: Engage) -> None:
    engage.seed(stores=[{"externalId": "old", "name": "Old", "active": False}])
    assert engage.get("stores").json() == []
    assert len(engage.get("stores", includeInactive="true").json()) == 1
    assert engage.get("stores/old").status_code == 404
    assert engage.get("stores/old", includeInactive="true").status_code == 200


def test_consent_definitions_are_listed(engage: Engage) -> None:
    texts = {"displayText": {"sv-SE": "Klubb"}}
    engage.seed(consents=[{"id": "club", "name": "Club", "metaData": texts}])
    assert engage.get("consents").json() == [{"id": "club", "name": "Club", "metaData": texts}]
