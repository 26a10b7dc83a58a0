"""Properties of every registered platform; a new platform is covered without a test of its own."""

import contextlib
import importlib
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.helpers import KnownShop
from support.mutations import mutated
from support.samples import BECOMES, check_event, customer_ids, samples

import plugin.platforms
from plugin.errors import ConfigurationError, PayloadError, UnverifiableError, VerificationError
from plugin.event_kinds import EventKind
from plugin.platforms.base import Delivery, EventHints, Platform, WebhookRequest
from plugin.platforms.registry import PLATFORMS
from plugin.platforms.standard import UNREADABLE

NOW = datetime(2026, 3, 6, 9, 30, tzinfo=UTC)
ROOT = Path(plugin.platforms.__file__).parents[2]
#: Topics that no shop sends: a platform's own name for what it could not read.
WITHOUT_SAMPLE = {("standard", UNREADABLE)}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)
TEXT = st.text(max_size=60) | st.sampled_from(
    ["", "=", "a=b&a=c", "shop=x&shop=y", "%", "%FF", "a.b.c", "\ud800", "9" * 9000]
)

CURRENCY_FIELDS = ("currency", "currency_code", "currencyCode", "shop_currency", "presentment_currency")

every_platform = pytest.mark.parametrize("platform", PLATFORMS.values(), ids=list(PLATFORMS))
every_sample = pytest.mark.parametrize(
    ("platform", "topic", "body"),
    [
        pytest.param(platform, topic, body, id=f"{platform.slug}-{name}")
        for platform in PLATFORMS.values()
        for name, topic, body in samples(platform)
    ],
)


# --- names ---


@every_platform
def test_the_slug_names_its_folder_its_page_and_its_registry_key(platform: Platform) -> None:
    assert re.fullmatch("[a-z][a-z0-9]{1,31}", platform.slug)
    assert PLATFORMS[platform.slug] is platform
    assert type(platform).__module__.startswith(f"plugin.platforms.{platform.slug}")
    assert (ROOT / "docs" / f"{platform.slug}.md").is_file()
    assert platform.name.strip()


@every_platform
def test_topics_are_declared_with_valid_names_and_required_kinds(platform: Platform) -> None:
    assert platform.topics
    assert not platform.topics.keys() & platform.ignored_topics
    assert EventKind.IGNORED not in platform.topics.values()
    for topic in [*platform.topics, *platform.ignored_topics]:
        assert 0 < len(topic) <= 128
        assert topic.isprintable()
    assert {EventKind.ORDER_PAID, EventKind.REFUND, EventKind.ERASURE} <= set(platform.topics.values())


@every_platform
def test_every_platform_has_a_signature_contract_test(platform: Platform) -> None:
    contract = importlib.import_module("platforms.test_signatures").SignatureContract
    assert platform.slug in {
        test_class.platform.slug for test_class in _below(contract) if hasattr(test_class, "platform")
    }


def _below(contract: type[Any]) -> list[type[Any]]:
    return [subclass for child in contract.__subclasses__() for subclass in [child, *_below(child)]]


# --- samples ---


@every_platform
def test_every_declared_topic_has_a_sample(platform: Platform) -> None:
    have = {topic for _, topic, _ in samples(platform)}
    missing = {topic for topic in platform.topics.keys() - have if (platform.slug, topic) not in WITHOUT_SAMPLE}
    assert not missing, f"put a body of each into tests/fixtures/{platform.slug}/"


@every_sample
def test_a_sample_becomes_an_event_of_its_topics_kind(platform: Platform, topic: str, body: bytes) -> None:
    mapped = platform.normalise(Delivery(topic), body, NOW)
    assert mapped.events or mapped.ignored
    for event in mapped.events:
        assert isinstance(event, BECOMES[platform.topics[topic]])
        assert event.occurred_at <= NOW + timedelta(days=3650)
        check_event(event)


@every_platform
def test_every_kind_has_a_sample_that_becomes_an_event(platform: Platform) -> None:
    become = {
        platform.topics[topic]
        for _, topic, body in samples(platform)
        if platform.normalise(Delivery(topic), body, NOW).events
    }
    assert become == set(platform.topics.values())


@every_sample
def test_peek_and_mapping_read_the_same_customer_and_order(platform: Platform, topic: str, body: bytes) -> None:
    peek = platform.peek(topic, body)
    assert peek.occurred_at is None or peek.occurred_at.utcoffset() is not None
    for event in platform.normalise(Delivery(topic), body, NOW).events:
        if customer_ids(event):
            assert peek.customer_id in customer_ids(event)
        order_id = getattr(event, "order_id", None)
        assert order_id is None or peek.order_id == order_id


@every_sample
def test_unknown_fields_do_not_change_the_outcome(platform: Platform, topic: str, body: bytes) -> None:
    def with_news(value: Any) -> Any:
        if isinstance(value, dict):
            return {**{name: with_news(inner) for name, inner in value.items()}, "a_new_field": {"of": ["the", 2030]}}
        return [with_news(inner) for inner in value] if isinstance(value, list) else value

    changed = with_news(json.loads(body, parse_float=str))
    before = platform.normalise(Delivery(topic), body, NOW)
    assert platform.normalise(Delivery(topic), json.dumps(changed).encode(), NOW).ignored == before.ignored


@pytest.mark.parametrize("code", ["", "SE", "SEK\n", "kronor", "\uff33\uff25\uff2b"])
@every_sample
def test_an_invalid_currency_never_reaches_an_event(platform: Platform, topic: str, body: bytes, code: str) -> None:
    def spoilt(value: Any, names: frozenset[str]) -> Any:
        if isinstance(value, dict):
            return {
                name: code if name in names and isinstance(inner, str) else spoilt(inner, names)
                for name, inner in value.items()
            }
        return [spoilt(inner, names) for inner in value] if isinstance(value, list) else value

    for names in ({"currency"}, {"currency_code"}, {"currencyCode"}, {"shop_currency"}, set(CURRENCY_FIELDS)):
        changed = spoilt(json.loads(body, parse_float=str), frozenset(names))
        with contextlib.suppress(PayloadError):
            for event in platform.normalise(Delivery(topic), json.dumps(changed).encode(), NOW).events:
                check_event(event)


@every_sample
def test_mapping_the_same_body_twice_gives_equal_results(platform: Platform, topic: str, body: bytes) -> None:
    first, again = (platform.normalise(Delivery(topic), body, NOW) for _ in range(2))
    assert first == again


# --- outside input raises only the declared errors ---


def tame(peek: EventHints) -> None:
    for text in (peek.customer_id, peek.email, peek.phone, peek.order_id):
        assert text is None or (text and text.isprintable())


@every_platform
@settings(max_examples=100, deadline=None, print_blob=True)
@given(data=st.data())
def test_peek_and_mapping_accept_or_refuse_any_body(platform: Platform, data: st.DataObject) -> None:
    topic = data.draw(st.sampled_from(sorted(platform.topics)))
    raw = data.draw(st.binary(max_size=100) | JSON.map(lambda v: json.dumps(v).encode("utf-8", "surrogatepass")))
    tame(platform.peek(topic, raw))
    tame(platform.peek(data.draw(st.text(max_size=20)), raw))
    with contextlib.suppress(PayloadError):
        for event in platform.normalise(Delivery(topic), raw, NOW).events:
            check_event(event)


@every_platform
@settings(max_examples=200, deadline=None, print_blob=True)
@given(data=st.data())
def test_peek_and_mapping_accept_or_refuse_damaged_samples(platform: Platform, data: st.DataObject) -> None:
    _, topic, body = data.draw(st.sampled_from(samples(platform)))
    raw = mutated(body, data.draw(st.randoms(use_true_random=False)))
    tame(platform.peek(topic, raw))
    with contextlib.suppress(PayloadError):
        for event in platform.normalise(Delivery(topic), raw, NOW).events:
            check_event(event)


@every_platform
@settings(max_examples=100, deadline=None, print_blob=True)
@given(data=st.data())
def test_verification_refuses_arbitrary_input(platform: Platform, data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(HEADERS), max_size=8))
    headers = {name: data.draw(st.text(max_size=40)) for name in names}
    request = WebhookRequest(headers, data.draw(st.binary(max_size=60)))
    shop = KnownShop((platform.new_secret(),), platform=platform.slug, shop_domain="kiosk.myshopify.com")
    platform.is_ping(request)
    platform.claimed_domain(request)
    with pytest.raises((VerificationError, UnverifiableError)):
        platform.verify(request, shop, NOW)
    text = data.draw(TEXT)
    with pytest.raises((VerificationError, UnverifiableError)):
        platform.verify_shopper_token(text, shop, NOW)
    platform.claimed_proxy_domain(text)
    with pytest.raises((VerificationError, UnverifiableError)):
        platform.verify_proxy_request(text, shop, NOW)


HEADERS = [
    "content-type", "user-agent", "webhook-id", "webhook-timestamp", "webhook-signature",
    "x-shopify-topic", "x-shopify-hmac-sha256", "x-shopify-shop-domain", "x-shopify-webhook-id", "x-shopify-triggered-at",
    "x-wc-webhook-topic", "x-wc-webhook-signature", "x-wc-webhook-source", "x-wc-webhook-delivery-id",
    "saleor-event", "saleor-signature", "saleor-api-url", "saleor-domain",
]  # fmt: skip


@every_platform
@pytest.mark.parametrize("secret", ["", " ", "\n"])
def test_an_empty_secret_is_a_configuration_error(platform: Platform, secret: str) -> None:
    with pytest.raises(ConfigurationError):
        platform.check_secret(secret)


@every_platform
def test_no_platform_has_an_api_before_the_installation(platform: Platform) -> None:
    assert platform.api(KnownShop((platform.new_secret(),), platform=platform.slug), lambda _: None) is None
