"""Who the shopper is at Shopify: the app proxy's signature and the session token."""

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import jwt
import pytest
from support.captured import vector
from support.helpers import KnownShop

from plugin.errors import VerificationError
from plugin.platforms.base import ProxiedShopper
from plugin.platforms.shopify import SHOPIFY

SECRET, FORMER = "shpss_0123456789abcdef0123456789abcdef", "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"
NOW = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)
PRESENT = int(NOW.timestamp())
SHOP = KnownShop((SECRET, FORMER), {"client_id": "app-1"}, "kiosk", "shopify", "kiosk.myshopify.com")


def proxied(*, secret: str = SECRET, **changes: Any) -> str:
    """Return a query as Shopify signs it; a list is a key that comes several times, None one that is missing."""
    values = {
        "shop": "kiosk.myshopify.com", "logged_in_customer_id": "42", "path_prefix": "/apps/my-pages",
        "timestamp": str(PRESENT), **changes,
    }  # fmt: skip
    lists = {name: v if isinstance(v, list) else [v] for name, v in values.items() if v is not None}
    text = "".join(sorted(f"{name}={','.join(several)}" for name, several in lists.items()))
    signature = hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    pairs = [f"{quote(name)}={quote(v, safe='')}" for name, several in lists.items() for v in several]
    return "&".join([*pairs, f"signature={signature}"])


def who(query: str, now: datetime = NOW, shop: KnownShop = SHOP) -> ProxiedShopper:
    return SHOPIFY.verify_proxy_request(query, shop, now)


def test_a_proxy_request_names_the_logged_in_customer() -> None:
    assert who(proxied()) == ProxiedShopper("42", "/apps/my-pages")
    assert SHOPIFY.claimed_proxy_domain(proxied()) == "kiosk.myshopify.com"


def test_a_proxy_request_with_an_empty_customer_id_names_no_customer() -> None:
    assert who(proxied(logged_in_customer_id="")).customer_id is None
    assert who(proxied(logged_in_customer_id=None)).customer_id is None


def test_repeated_keys_are_joined_and_values_percent_decoded() -> None:
    query = proxied(page=["1", "2"], name="Åsa & co/+ %")
    assert who(query).customer_id == "42"
    assert who(query.replace("%20", "+")).customer_id == "42"


def test_both_secrets_of_a_rotation_are_accepted() -> None:
    assert who(proxied(secret=FORMER)).customer_id == "42"


@pytest.mark.parametrize("name", ["shop", "signature", "timestamp", "hmac", "logged_in_customer_id", "path_prefix"])
def test_a_repeated_platform_parameter_is_refused(name: str) -> None:
    query = proxied(hmac="x") if name == "hmac" else proxied()
    with pytest.raises(VerificationError, match="more than once"):
        who(f"{query}&{name}=x")


@pytest.mark.parametrize(
    ("query", "why"),
    [
        (proxied(secret="shpss_x"), "does not fit"),
        (proxied().replace("=42", "=43"), "does not fit"),
        (proxied() + "&extra=1", "does not fit"),
        (proxied(timestamp=str(PRESENT - 91)), "90 s"),
        (proxied(timestamp=str(PRESENT + 91)), "90 s"),
        (proxied(timestamp=None), "timestamp"),
        (proxied(timestamp="x"), "timestamp"),
        (proxied(timestamp="٣"), "timestamp"),
        (proxied(shop="other.myshopify.com"), "another shop"),
        (proxied(shop=None), "another shop"),
        (proxied(logged_in_customer_id="1 OR 1"), "not a number"),
        (proxied(path_prefix=None), "path prefix"),
        (proxied(path_prefix="//evil.example?"), "path prefix"),
        ("", "does not fit"),
        ("signature=", "does not fit"),
        ("shop=%FF&signature=å", "cannot be read"),
        ("a=1&" * 100, "cannot be read"),
        ("a" * 9000, "too long"),
    ],
)
def test_a_forged_stale_or_foreign_request_is_refused(query: str, why: str) -> None:
    with pytest.raises(VerificationError, match=why):
        who(query)


def test_a_signature_does_not_hold_for_another_split_of_the_query() -> None:
    """A guest who adds a parameter gets a text signed that, cut elsewhere, would name any customer."""
    honest = proxied(logged_in_customer_id="", e="logged_in_customer_id=2m=")
    with pytest.raises(VerificationError, match="two ways"):
        who(honest)
    signature = honest.rpartition("=")[2]
    forged = (
        "e=&logged_in_customer_id=2&m=logged_in_customer_id%3D&path_prefix=%2Fapps%2Fmy-pages"
        f"&shop=kiosk.myshopify.com&timestamp={PRESENT}&signature={signature}"
    )
    with pytest.raises(VerificationError, match="two ways"):
        who(forged)


def test_the_vendors_test_vectors_are_accepted() -> None:
    example, older = vector("shopify_app_proxy"), vector("shopify_app_proxy_old")
    shop = KnownShop((example["client_secret"],), shop_domain="shop-name.myshopify.com")
    at = datetime.fromtimestamp(1317327555 + 90, UTC)
    assert who(example["query"], at, shop) == ProxiedShopper("1", "/apps/awesome_reviews")
    without = example["query"].replace("&logged_in_customer_id=1", "").rpartition("=")[0]
    assert who(f"{without}={older['signature']}", at, shop) == ProxiedShopper(None, "/apps/awesome_reviews")


# --- session tokens ---


def token(*, secret: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    claims = {
        "dest": "kiosk.myshopify.com", "aud": "app-1", "exp": PRESENT + 300, "nbf": PRESENT, "iat": PRESENT, "jti": "j-1",
        "sub": "gid://shopify/Customer/42", **changes,
    }  # fmt: skip
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, secret, algorithm=algorithm)


def test_a_session_token_names_its_customer() -> None:
    assert SHOPIFY.verify_shopper_token(token(), SHOP, NOW).customer_id == "42"
    assert SHOPIFY.verify_shopper_token(token(dest="https://kiosk.myshopify.com"), SHOP, NOW).customer_id == "42"
    assert SHOPIFY.verify_shopper_token(token(secret=FORMER), SHOP, NOW).customer_id == "42"


def test_clocks_may_differ_by_ten_seconds() -> None:
    for changes in ({"exp": PRESENT - 10}, {"nbf": PRESENT + 10}):
        assert SHOPIFY.verify_shopper_token(token(**changes), SHOP, NOW).customer_id == "42"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"exp": PRESENT - 11}, "expired"),
        ({"nbf": PRESENT + 11}, "expired"),
        ({"exp": None}, "not valid"),
        ({"nbf": None}, "not valid"),
        ({"exp": "soon"}, "not numbers"),
        ({"exp": True}, "not numbers"),
        ({"exp": float("nan")}, "not times"),
        ({"dest": "other.myshopify.com"}, "another shop"),
        ({"dest": "https://evil.example"}, "another shop"),
        ({"dest": 5}, "another shop"),
        ({"dest": None}, "not valid"),
        ({"aud": "app-2"}, "not valid"),
        ({"aud": ["app-1", "app-2"]}, "not valid"),
        ({"aud": None}, "not valid"),
        ({"sub": None}, "the shopper is not logged in"),
        ({"sub": "42"}, "the shopper is not logged in"),
        ({"sub": "gid://shopify/Company/42"}, "the shopper is not logged in"),
        ({"sub": "gid://shopify/Customer/42/7"}, "the shopper is not logged in"),
        ({"sub": 42}, "the shopper is not logged in"),
        ({"secret": "shpss_ffffffffffffffffffffffffffffffff"}, "not valid"),
        ({"secret": SECRET * 2, "algorithm": "HS512"}, "not valid"),
    ],
)
def test_a_forged_stale_or_foreign_token_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(VerificationError, match=why):
        SHOPIFY.verify_shopper_token(token(**changes), SHOP, NOW)


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "å" * 40, "." * 9000])
def test_a_malformed_token_is_refused(text: str) -> None:
    with pytest.raises(VerificationError):
        SHOPIFY.verify_shopper_token(text, SHOP, NOW)


def test_an_unsigned_token_is_refused() -> None:
    unsigned = jwt.encode({"sub": "gid://shopify/Customer/42"}, None, algorithm="none")
    with pytest.raises(VerificationError):
        SHOPIFY.verify_shopper_token(unsigned, SHOP, NOW)


def test_without_an_installation_every_token_is_refused() -> None:
    with pytest.raises(VerificationError, match="install/shopify"):
        SHOPIFY.verify_shopper_token(token(), KnownShop((SECRET,), shop_domain="kiosk.myshopify.com"), NOW)
