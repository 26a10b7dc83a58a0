"""Consents with a time of their own: the setting `consent_fields` with an @ before the field of the time."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.bodies import customer
from support.helpers import Clock

from plugin.events import Channel, ConsentChange, CustomerUpdated
from plugin.platforms.base import Delivery
from plugin.store.shops.shops import RegisteredShop
from webhooks.attempt.mapping import map_body, parse_answer

ANSWERED_AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


def consents(shop: RegisteredShop, clock: Clock, target: str = "email@news_at", **extra: str) -> Any:
    """Map a profile change of a shop whose field `news` is a consent; return the consents."""
    shop = replace(shop, settings=replace(shop.settings, consent_fields={"news": target}))
    body = {"type": "customer.updated", "timestamp": clock().isoformat(), "data": {"customer": customer(extra=extra)}}
    (event,) = map_body(shop, Delivery("customer.updated"), json.dumps(body).encode(), clock()).events
    assert isinstance(event, CustomerUpdated)
    return event.consents


@pytest.mark.parametrize(
    "text",
    ["2026-03-01T08:00:00Z", "2026-03-01T09:00:00+01:00", "2026-03-01 08:00:00", "1772352000"],
)
def test_a_timed_opt_in_has_the_time_of_its_answer(shop: RegisteredShop, clock: Clock, text: str) -> None:
    expected = ConsentChange(Channel.EMAIL, True, ANSWERED_AT, "shop field news", None)
    assert consents(shop, clock, news="yes", news_at=text) == (expected,)


def test_a_time_after_the_webhook_is_cut_to_it(shop: RegisteredShop, clock: Clock) -> None:
    later = (clock() + timedelta(days=1)).isoformat()
    (consent,) = consents(shop, clock, news="yes", news_at=later)
    assert consent.at == clock()


def test_an_opt_in_without_its_time_is_left_out(shop: RegisteredShop, clock: Clock) -> None:
    assert consents(shop, clock, news="yes") == ()
    assert consents(shop, clock, news="yes", news_at="last week") == ()


def test_an_opt_out_counts_without_its_time(shop: RegisteredShop, clock: Clock) -> None:
    assert consents(shop, clock, news="no") == (ConsentChange(Channel.EMAIL, False, None, "shop field news", None),)


def test_a_target_that_is_not_a_channel_is_a_consent_id(shop: RegisteredShop, clock: Clock) -> None:
    (consent,) = consents(shop, clock, "club@news_at", news="yes", news_at="1772352000")
    assert (consent.channel, consent.consent_id) == (Channel.OTHER, "club")


def test_a_field_without_a_field_of_its_time_is_not_mapped(shop: RegisteredShop, clock: Clock) -> None:
    assert consents(shop, clock, "email", news="no") == ()


@pytest.mark.parametrize(
    ("text", "answer"), [(" Yes ", True), ("1", True), ("off", False), ("FALSE", False), ("maybe", None), (None, None)]
)
def test_an_answer_is_yes_no_or_unreadable(text: str | None, answer: bool | None) -> None:
    assert parse_answer(text) is answer
