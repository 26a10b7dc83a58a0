"""Saleor's proofs: webhooks signed with the shop's key or a secretKey, shoppers' tokens, and how keys are fetched."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from platforms.test_signatures import NOW, SignatureContract
from support.captured import FIXTURES, vector
from support.helpers import KnownShop
from support.saleor_shop import Shop, jwk, private_key, running_saleor, signed

from plugin.errors import UnverifiableError, VerificationError
from plugin.platforms.base import WebhookRequest
from plugin.platforms.saleor import Saleor, keys
from plugin.platforms.saleor.addresses import checked_api_url, domain_of


@pytest.fixture(scope="module")
def running() -> Iterator[Shop]:
    with running_saleor() as shop:
        yield shop


@pytest.fixture
def saleor(running: Shop) -> Shop:
    running.keys, running.asked, running.broken = ["key-1"], [], 0
    return running


def installed_shop(saleor: Shop, **credentials: Any) -> KnownShop:
    """The shop as an installation left it."""
    return KnownShop(
        ("legacy-secret",), {"api_url": saleor.api_url, **credentials}, platform="saleor", shop_domain=saleor.domain
    )


class TestSaleorKeys(SignatureContract):
    """RS256 over the raw body; a secret stands for the name of a key in the shop's JWKS."""

    platform, header, secret, other = Saleor(), "saleor-signature", "key-1", "key-2"

    @pytest.fixture(autouse=True)
    def _fresh(self, saleor: Shop) -> None:
        self.platform, self.shop = Saleor(), saleor

    def sign(self, body: bytes, secret: str, at: datetime = NOW) -> dict[str, str]:
        return {
            self.header: signed(body, secret),
            "saleor-event": "order_fully_paid",
            "saleor-api-url": self.shop.api_url,
        }

    def verify(self, headers: dict[str, str], body: bytes, *secrets: str, now: datetime = NOW) -> str:
        self.shop.keys = list(secrets or (self.secret,))
        return self.platform.verify(WebhookRequest(headers, body), installed_shop(self.shop), now).topic

    def test_headers_are_read_with_and_without_the_x_prefix_in_any_case(self) -> None:
        for prefix in ("", "x-"):
            headers = {
                f"{prefix}saleor-signature": signed(b"{}"),
                f"{prefix}saleor-event": "ORDER_FULLY_PAID",
                f"{prefix}saleor-api-url": self.shop.api_url.replace("http", "HTTP"),
            }
            delivery = self.platform.verify(WebhookRequest(headers, b"{}"), installed_shop(self.shop), NOW)
            assert (delivery.topic, delivery.shop_domain, delivery.delivery_id) == (
                "order_fully_paid", self.shop.domain, None,
            )  # fmt: skip

    @pytest.mark.parametrize(
        "forged",
        [
            lambda body, shop: shop.customer_token(NOW),  # signed with the same key, valid for no body
            lambda body, shop: jwt.encode({}, None, "none", headers={"kid": "key-1"}),
            lambda body, shop: jwt.api_jws.encode(
                body, jwk("key-1")["n"], "HS256", headers={"kid": "key-1", "b64": False, "crit": ["b64"]},
                is_payload_detached=True,
            ),
            lambda body, shop: jwt.api_jws.encode(body, private_key("key-1"), "RS256", headers={"kid": "key-1"}),
            lambda body, shop: signed(body).replace("..", "." + base64.urlsafe_b64encode(body).decode() + "."),
            lambda body, shop: signed(body, kid=""),
            lambda body, shop: signed(body, kid="k" * 300),
        ],
    )  # fmt: skip
    def test_anything_but_a_detached_signature_of_the_shop_is_refused(self, forged: Any) -> None:
        headers = {**self.sign(b"{}", self.secret), self.header: forged(b"{}", self.shop)}
        self.refused(headers)


def deliver(platform: Saleor, saleor: Shop, key: str, now: datetime = NOW, **credentials: Any) -> str:
    headers = {name.lower(): value for name, value in saleor.headers("customer_created", b"{}", key).items()}
    return platform.verify(WebhookRequest(headers, b"{}"), installed_shop(saleor, **credentials), now).topic


def test_a_new_key_is_fetched_once_and_the_former_key_stays_valid_while_published(saleor: Shop) -> None:
    platform = Saleor()
    assert [deliver(platform, saleor, "key-1") for _ in range(3)] == ["customer_created"] * 3
    assert saleor.asked == ["/.well-known/jwks.json"]
    saleor.keys = ["key-1", "key-2"]
    later = NOW + timedelta(minutes=5)
    assert deliver(platform, saleor, "key-2", later)
    assert deliver(platform, saleor, "key-1", later)
    assert len(saleor.asked) == 2


def test_forged_key_ids_cause_few_calls_and_lose_no_real_webhook(saleor: Shop) -> None:
    platform = Saleor()
    deliver(platform, saleor, "key-1")
    at = NOW + timedelta(minutes=1)
    with pytest.raises(VerificationError):
        deliver(platform, saleor, "forged-1", at)
    for number in range(2, 50):
        with pytest.raises(UnverifiableError):  # 503: it might be a new key that came just now
            deliver(platform, saleor, f"forged-{number % 3 + 2}", at)
    with pytest.raises(VerificationError):
        deliver(platform, saleor, "forged-1", at)
    assert len(saleor.asked) == 2
    saleor.keys = ["key-2"]  # a rotation in the middle of it
    with pytest.raises(UnverifiableError):
        deliver(platform, saleor, "key-2", at + timedelta(seconds=10))
    assert deliver(platform, saleor, "key-2", at + keys.PAUSE)
    assert len(saleor.asked) == 3


def test_a_failed_key_fetch_is_not_a_refusal_and_cached_keys_still_verify(saleor: Shop) -> None:
    platform = Saleor()
    saleor.broken = 500
    with pytest.raises(UnverifiableError, match="could not be fetched"):
        deliver(platform, saleor, "key-1")
    saleor.broken = 0
    assert deliver(platform, saleor, "key-1", NOW + keys.PAUSE)
    saleor.broken = 404
    late = NOW + keys.OLD * 2
    assert deliver(platform, saleor, "key-1", late), (
        "an old key is refreshed when it is used, and a failure of that stops nothing"
    )
    with pytest.raises(UnverifiableError):
        deliver(platform, saleor, "key-2", late + keys.PAUSE)


def test_a_key_that_the_shop_withdrew_stops_working_within_a_day(saleor: Shop) -> None:
    platform = Saleor()
    deliver(platform, saleor, "key-1")
    saleor.keys = ["key-2"]
    assert deliver(platform, saleor, "key-1", NOW + keys.OLD)
    late = NOW + keys.OLD + timedelta(minutes=1)
    assert deliver(platform, saleor, "key-2", late)
    with pytest.raises((VerificationError, UnverifiableError)):
        deliver(platform, saleor, "key-1", late)


def test_keys_stored_by_the_installation_need_no_call(saleor: Shop) -> None:
    stored = {"jwks": {"keys": [jwk("key-1")]}, "jwks_at": (NOW - timedelta(hours=1)).isoformat()}
    assert deliver(Saleor(), saleor, "key-1", **stored)
    assert saleor.asked == []


def test_a_shop_that_is_neither_installed_nor_has_a_domain_has_no_keys(saleor: Shop) -> None:
    headers = {name.lower(): value for name, value in saleor.headers("customer_created", b"{}").items()}
    with pytest.raises(VerificationError, match="not installed"):
        Saleor().verify(WebhookRequest(headers, b"{}"), KnownShop(("x",)), NOW)
    assert saleor.asked == [], "the address in the header is never called"


@pytest.mark.parametrize(
    "entry",
    [
        {"kty": "oct", "k": "AAAA", "kid": "key-1"},
        {**jwk("key-1"), "use": "enc"},
        {**jwk("key-1"), "alg": "RS512"},
        {**jwk("key-1"), "n": 7},
        {**jwk("key-1"), "kid": None},
        "key-1",
    ],
)
def test_keys_other_than_rsa_signature_keys_are_ignored(entry: Any) -> None:
    assert keys.read_keys({"keys": [entry]}) == {}
    assert keys.read_keys(["keys"]) == {}


@pytest.mark.parametrize(
    ("url", "domain"),
    [
        ("https://Acme.Saleor.cloud/graphql/", "acme.saleor.cloud"),
        ("https://acme.saleor.cloud:443/graphql/", "acme.saleor.cloud"),
        ("http://127.0.0.1:8000/graphql/", "127.0.0.1:8000"),
        ("https://[::1]:8000/graphql/", "[::1]:8000"),
        ("https://acme.saleor.cloud:99999/", None),
        ("ftp://acme/", None),
        ("acme", None),
        ("", None),
    ],
)
def test_the_shop_is_named_by_host_and_port_of_its_api_address(url: str, domain: str | None) -> None:
    assert domain_of(url) == domain
    headers = {"saleor-api-url": url, "saleor-domain": "elsewhere.example"}
    expected = domain if url else "elsewhere.example"
    assert Saleor().claimed_domain(WebhookRequest(headers, b"")) == expected


@pytest.mark.parametrize(
    "url",
    [
        "http://acme.saleor.cloud/graphql/",
        "https://user@acme.saleor.cloud/graphql/",
        "https://acme.saleor.cloud/graphql/?x=1",
        "https://acme.saleor.cloud/graphql/#x",
        "https://acme.saleor.cloud\\@evil.example/",
        "https://acme.saleor.cloud/" + "a" * 300,
        "https://åcme.example/graphql/",
        "javascript:alert(1)",
        "",
    ],
)
def test_a_public_api_address_must_be_plain_https(url: str) -> None:
    with pytest.raises(VerificationError, match="Saleor-Api-Url"):
        checked_api_url(url)


def test_an_api_address_in_a_private_network_may_be_http() -> None:
    assert checked_api_url("http://127.0.0.1:8000/graphql/") == "http://127.0.0.1:8000/graphql/"
    assert checked_api_url("http://10.0.0.5/graphql/")


# --- shoppers ---


def test_a_customers_access_token_identifies_the_customer(saleor: Shop) -> None:
    proof = Saleor().verify_shopper_token(saleor.customer_token(NOW), installed_shop(saleor), NOW)
    assert (proof.customer_id, proof.token_id) == ("VXNlcjoxMDAx", None)


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://other.example/graphql/"},
        {"type": "refresh"},
        {"type": "thirdparty", "app": "QXBwOjE=", "permissions": []},
        {"owner": "openid"},
        {"is_staff": True},
        {"is_staff": None},
        {"app": "QXBwOjE="},
        {"user_id": None},
        {"user_id": "x" * 200},
        {"exp": int(NOW.timestamp()) - 60},
        {"exp": True},
        {"exp": int(NOW.timestamp()) + 10 * 86400},
        {"iat": int(NOW.timestamp()) + 120, "exp": int(NOW.timestamp()) + 300},
        {"nbf": int(NOW.timestamp()) + 120},
    ],
)
def test_any_other_token_is_refused(saleor: Shop, claims: dict[str, Any]) -> None:
    with pytest.raises(VerificationError):
        Saleor().verify_shopper_token(saleor.customer_token(NOW, **claims), installed_shop(saleor), NOW)


@pytest.mark.parametrize(
    "token",
    [
        "", "x", "a.b.c", "..", "a" * 9000,
        signed(b"{}"),
        jwt.encode({"user_id": "1"}, "s" * 40, "HS256", headers={"kid": "key-1"}),
        jwt.encode({"user_id": "1"}, None, "none", headers={"kid": "key-1"}),
    ],
)  # fmt: skip
def test_anything_but_a_token_of_the_shop_is_refused(saleor: Shop, token: str) -> None:
    with pytest.raises(VerificationError):
        Saleor().verify_shopper_token(token, installed_shop(saleor), NOW)


def test_a_token_of_another_key_is_refused_and_an_uncheckable_token_is_unverifiable(saleor: Shop) -> None:
    platform, token = Saleor(), saleor.customer_token(NOW, key="key-2")
    with pytest.raises(VerificationError):
        platform.verify_shopper_token(token, installed_shop(saleor), NOW)
    saleor.broken = 503
    with pytest.raises(UnverifiableError):
        Saleor().verify_shopper_token(token, installed_shop(saleor), NOW)


# --- captured tokens ---


def test_signatures_of_a_real_shop_are_accepted() -> None:
    jws, legacy_hmac, access = (
        vector(f"saleor_{name}") for name in ("webhook_jws", "webhook_legacy_hmac", "customer_access_jwt")
    )
    body = (FIXTURES / jws["body_file"]).read_bytes()
    at = datetime(2026, 11, 23, 5, 36, tzinfo=UTC)
    stored = {"jwks": jws["jwks"], "jwks_at": at.isoformat(), "api_url": "http://127.0.0.1:8500/graphql/"}
    shop = KnownShop((legacy_hmac["secretKey"],), stored, shop_domain="127.0.0.1:8500")
    headers = {name.lower(): value for name, value in jws["headers"].items()}
    delivery = Saleor().verify(WebhookRequest(headers, body), shop, at)
    assert (delivery.topic, delivery.shop_domain) == ("customer_created", "127.0.0.1:8500")
    with pytest.raises(VerificationError):
        Saleor().verify(WebhookRequest(headers, body.replace(b"Anna", b"Bert")), shop, at)
    legacy = {**headers, "saleor-signature": legacy_hmac["saleor_signature_hex"]}
    assert Saleor().verify(WebhookRequest(legacy, body), shop, at).topic == "customer_created"
    token = access["token"]
    issued = datetime.fromtimestamp(access["claims"]["iat"], UTC)
    stored["jwks_at"] = issued.isoformat()
    assert Saleor().verify_shopper_token(token, shop, issued).customer_id == "VXNlcjo0Ng=="
    with pytest.raises(VerificationError, match="expired"):
        Saleor().verify_shopper_token(token, shop, issued + timedelta(minutes=10))
