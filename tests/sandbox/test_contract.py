"""A bounded, seeded run of requests made from the contract: only declared answers of the declared shape come back.

Valid and invalid requests are made; known ids are put into half of them, so that more than "not found" is reached.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, seed, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from support.helpers import Clock
from support.sandbox_client import CONTRACT, PROMOTION_ID, Engage

from plugin.sandbox import SandboxOptions
from plugin.sandbox.testing import HEADERS, running_sandbox

SCHEMA = schemathesis.openapi.from_dict(CONTRACT)
SCHEMA.config.phases.coverage.enabled = False  # it takes most of the time; the tests beside this one have its cases
CHECKS = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
CONTACT_ID = "22222222-2222-4222-8222-222222222222"
ASSIGNMENT_ID = "33333333-3333-4333-8333-333333333333"
VOUCHER_ID = "44444444-4444-4444-8444-444444444444"
KNOWN = {
    "contactId": CONTACT_ID,
    "assignmentId": ASSIGNMENT_ID,
    "rewardVoucherId": VOUCHER_ID,
    "id": PROMOTION_ID,
    "accountId": "1",
    "externalId": "web-se",
}


@pytest.fixture(scope="module")
def target() -> Iterator[Engage]:
    clock = Clock()
    with running_sandbox(SandboxOptions(rate_limit_per_s=None), clock) as running, requests.Session() as session:
        yield Engage(running, clock, session)


ENTRIES: dict[str, Any] = {
    "stores": [{"externalId": "web-se", "name": "Web Sweden"}],
    "contacts": [{"id": CONTACT_ID, "email": "ada@shop.test"}],
    "promotions": [{"id": PROMOTION_ID, "name": "Spring", "externalId": "web-se"}],
    "assignments": [{"id": ASSIGNMENT_ID, "contactId": CONTACT_ID, "promotionId": PROMOTION_ID}],
    "vouchers": [{"id": VOUCHER_ID, "contactId": CONTACT_ID, "value": {"amount": 50, "currency": "SEK"}}],
    "points": [{"id": "1", "contactId": CONTACT_ID, "transactions": [{"amount": 120}]}],
}


def fill(engage: Engage) -> None:
    """Put one entry of each kind into an empty tenant."""
    engage.running.state.reset()
    engage.seed(**ENTRIES)


def with_known_ids(parameters: Any) -> Any:
    if not isinstance(parameters, dict):
        return parameters
    return {name: KNOWN.get(name, value) for name, value in parameters.items()}


@SCHEMA.parametrize()
@seed(20260305)
@settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_every_answer_to_a_generated_request_is_declared(case: Any, target: Engage) -> None:
    fill(target)
    for known in (False, True):
        if known:
            case.path_parameters = with_known_ids(case.path_parameters)
            case.query = with_known_ids(case.query)
        answer = case.call(base_url=target.url, session=target.session, headers=dict(HEADERS), allow_redirects=False)
        case.validate_response(answer, checks=CHECKS)
        media_type = answer.request.headers.get("Content-Type", "")
        assert answer.status_code < 500 or not media_type.startswith("application/json")
