"""One contract for the signatures of every platform, inherited by each."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook
from support.captured import FIXTURES, vector
from support.helpers import KnownShop

from plugin.errors import ConfigurationError, VerificationError
from plugin.platforms.base import Platform, WebhookRequest
from plugin.platforms.saleor import SALEOR
from plugin.platforms.shopify import SHOPIFY
from plugin.platforms.standard import STANDARD
from plugin.platforms.woocommerce import WOOCOMMERCE

NOW = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)


class SignatureContract:
    """The properties of every platform's signature. A subclass defines how a platform signs and in which header.

    delivery: the delivery's id, where the platform sends one. credentials: what an installation stored, where proofs need it.
    """

    platform: Platform
    header: str
    secret: str
    other: str
    delivery = "d-1"
    credentials: Mapping[str, Any] = MappingProxyType({})

    def sign(self, body: bytes, secret: str, at: datetime = NOW) -> dict[str, str]:
        raise NotImplementedError

    def verify(self, headers: dict[str, str], body: bytes, *secrets: str, now: datetime = NOW) -> str:
        return self.platform.verify(WebhookRequest(headers, body), KnownShop(secrets or (self.secret,)), now).topic

    def refused(self, headers: dict[str, str], body: bytes = b"{}") -> None:
        with pytest.raises(VerificationError) as caught:
            self.verify(headers, body)
        assert self.secret not in str(caught.value)

    def test_a_valid_signature_is_accepted(self) -> None:
        assert self.verify(self.sign(b"{}", self.secret), b"{}")

    @pytest.mark.parametrize("body", [b"", b"\xff\xfe\x00", b"not json", "åäö".encode()])
    def test_any_bytes_can_be_signed(self, body: bytes) -> None:
        assert self.verify(self.sign(body, self.secret), body)

    def test_a_missing_header_is_refused(self) -> None:
        whole = self.sign(b"{}", self.secret)
        headers = {name: value for name, value in whole.items() if name != self.header}
        self.refused(headers)
        self.refused({**whole, self.header: "  "})

    def test_a_wrong_secret_is_refused(self) -> None:
        self.refused(self.sign(b"{}", self.other))

    @pytest.mark.parametrize("value", ["x", "====", "v1,", "v1,x", "v2,AAAA", "å" * 44, "A" * 10_000, "0" * 64, ","])
    def test_a_malformed_signature_is_refused(self, value: str) -> None:
        self.refused({**self.sign(b"{}", self.secret), self.header: value})

    def test_a_repeated_header_is_refused(self) -> None:
        headers = self.sign(b"{}", self.secret)
        self.refused({**headers, self.header: f"{headers[self.header]},{headers[self.header]}"})

    def test_a_body_that_changed_by_one_byte_is_refused(self) -> None:
        self.refused(self.sign(b'{"a": 1}', self.secret), b'{"a": 2}')
        self.refused(self.sign(b"{}", self.secret), b"{} ")

    def test_both_secrets_of_a_rotation_are_accepted(self) -> None:
        for secret in (self.secret, self.other):
            assert self.verify(self.sign(b"{}", secret), b"{}", self.secret, self.other)

    def test_a_new_secret_is_valid(self) -> None:
        first, second = self.platform.new_secret(), self.platform.new_secret()
        assert first != second
        self.platform.check_secret(first)
        with pytest.raises(ConfigurationError):
            self.platform.check_secret("  ")


class TestShopify(SignatureContract):
    platform, header = SHOPIFY, "x-shopify-hmac-sha256"
    secret, other = "shpss_one", "shpss_two"

    def sign(self, body: bytes, secret: str, at: datetime = NOW) -> dict[str, str]:
        digest = hmac.new(secret.encode(), body, hashlib.sha256).digest()
        return {
            self.header: base64.b64encode(digest).decode(),
            "x-shopify-topic": "orders/paid",
            "x-shopify-shop-domain": "Kiosk.myshopify.com",
            "x-shopify-webhook-id": self.delivery,
            "x-shopify-event-id": "e-1",
            "x-shopify-triggered-at": at.isoformat(),
        }

    def test_a_hex_digest_is_not_base64(self) -> None:
        self.refused(
            {**self.sign(b"{}", self.secret), self.header: hmac.new(b"shpss_one", b"{}", hashlib.sha256).hexdigest()}
        )

    def test_headers_are_read_after_verification(self) -> None:
        delivery = SHOPIFY.verify(WebhookRequest(self.sign(b"{}", self.secret), b"{}"), KnownShop((self.secret,)), NOW)
        assert (delivery.topic, delivery.delivery_id, delivery.shop_domain) == (
            "orders/paid",
            "d-1",
            "kiosk.myshopify.com",
        )

    def test_the_vendors_test_vector_is_accepted(self) -> None:
        example = vector("shopify_webhook")
        body = (FIXTURES / example["body_file"]).read_bytes()
        headers = {**self.sign(body, "x"), self.header: example["x_shopify_hmac_sha256"]}
        assert self.verify(headers, body, example["client_secret"])


class TestSaleorSecretKey(SignatureContract):
    """The older signature, of webhooks made with a secretKey; saleor/test_signature.py tests the current signature."""

    platform, header, secret, other = SALEOR, "saleor-signature", "one", "two"

    def sign(self, body: bytes, secret: str, at: datetime = NOW) -> dict[str, str]:
        digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        return {self.header: digest, "saleor-event": "order_fully_paid"}

    def test_upper_case_hex_is_refused(self) -> None:
        headers = self.sign(b"{}", self.secret)
        self.refused({**headers, self.header: headers[self.header].upper()})


class TestStandard(SignatureContract):
    platform, header = STANDARD, "webhook-signature"
    secret = "whsec_" + base64.b64encode(b"1" * 32).decode()
    other = "whsec_" + base64.b64encode(b"2" * 24).decode()

    def sign(self, body: bytes, secret: str, at: datetime = NOW) -> dict[str, str]:
        """Sign with the specification's own library where it can: it takes text only."""
        try:
            signature = Webhook(secret).sign(self.delivery, at, body.decode("ascii"))
        except UnicodeDecodeError:
            signed = f"{self.delivery}.{int(at.timestamp())}.".encode() + body
            key = base64.b64decode(secret.removeprefix("whsec_"))
            signature = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return {"webhook-id": self.delivery, "webhook-timestamp": str(int(at.timestamp())), self.header: signature}

    @pytest.mark.parametrize("seconds", [-301, 301])
    def test_a_stale_timestamp_is_refused(self, seconds: int) -> None:
        self.refused(self.sign(b"{}", self.secret, NOW + timedelta(seconds=seconds)))
        assert self.verify(self.sign(b"{}", self.secret, NOW + timedelta(seconds=seconds - seconds // 300)), b"{}")

    def test_one_valid_signature_among_several_is_enough(self) -> None:
        headers = self.sign(b"{}", self.secret)
        several = f"v2,zzzz v1,AAAA {headers[self.header]} v1"
        assert self.verify({**headers, self.header: several}, b"{}")

    def test_svix_headers_are_accepted(self) -> None:
        headers = {name.replace("webhook-", "svix-"): value for name, value in self.sign(b"{}", self.secret).items()}
        assert self.verify(headers, b"{}")

    @pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA", "whsec_!!!", "secret", "whsec_" + "A" * 200])
    def test_a_malformed_secret_is_a_configuration_error(self, secret: str) -> None:
        with pytest.raises(ConfigurationError):
            STANDARD.check_secret(secret)


class TestWooCommerce(SignatureContract):
    platform, header = WOOCOMMERCE, "x-wc-webhook-signature"
    secret, other = "wc-secret", "anotherSecret1"

    def sign(self, body: bytes, secret: str, at: datetime = NOW) -> dict[str, str]:
        digest = hmac.new(secret.encode(), body, hashlib.sha256).digest()
        return {
            self.header: base64.b64encode(digest).decode(),
            "x-wc-webhook-topic": "order.updated",
            "x-wc-webhook-source": "https://shop.example/",
            "x-wc-webhook-delivery-id": "the same for a whole second",
        }

    def test_a_hex_digest_is_not_base64(self) -> None:
        self.refused(
            {**self.sign(b"{}", self.secret), self.header: hmac.new(b"wc-secret", b"{}", hashlib.sha256).hexdigest()}
        )

    def test_neither_delivery_id_nor_source_is_trusted(self) -> None:
        headers = self.sign(b"{}", self.secret)
        delivery = WOOCOMMERCE.verify(WebhookRequest(headers, b"{}"), KnownShop((self.secret,)), NOW)
        assert (delivery.topic, delivery.delivery_id, delivery.shop_domain) == ("order.updated", None, None)

    def test_a_reserialised_body_is_refused(self) -> None:
        body = b'{"a":"https:\\/\\/shop.example"}'
        self.refused(self.sign(body, self.secret), json.dumps(json.loads(body)).encode())

    def test_a_delivery_of_a_real_shop_is_accepted(self) -> None:
        example = vector("woocommerce")
        body = (FIXTURES / example["body_file"]).read_bytes()
        headers = {**self.sign(body, "x"), self.header: example["x_wc_webhook_signature"]}
        assert self.verify(headers, body, example["secret"])

    @pytest.mark.parametrize("secret", ["", " a", "a&b", "a<b", "a>b", 'a"b', "a'b", "a\nb"])
    def test_a_secret_that_wordpress_would_change_is_a_configuration_error(self, secret: str) -> None:
        with pytest.raises(ConfigurationError):
            WOOCOMMERCE.check_secret(secret)

    def test_a_new_secret_has_letters_and_digits_only(self) -> None:
        secret = WOOCOMMERCE.new_secret()
        assert secret.isascii()
        assert secret.isalnum()
        assert len(secret) >= 32

    @pytest.mark.parametrize(
        ("headers", "body", "ping"),
        [
            ({"content-type": "application/x-www-form-urlencoded"}, b"webhook_id=1", True),
            ({"content-type": "application/x-www-form-urlencoded; charset=utf-8"}, b"webhook_id=123\n", True),
            ({"content-type": "application/json"}, b"webhook_id=1", False),
            ({"content-type": "application/x-www-form-urlencoded"}, b"webhook_id=1&x=2", False),
            ({"content-type": "application/x-www-form-urlencoded", "x-wc-webhook-topic": "a"}, b"webhook_id=1", False),
            ({}, b"webhook_id=1", False),
        ],
    )
    def test_only_the_ping_is_a_ping(self, headers: dict[str, str], body: bytes, ping: bool) -> None:
        assert WOOCOMMERCE.is_ping(WebhookRequest(headers, body)) is ping
