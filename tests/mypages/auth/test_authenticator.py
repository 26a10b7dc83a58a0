"""Pages behind a platform's proxy: no cookies, each request is signed, and pages are inside the shop's theme."""

import hashlib
import hmac
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlencode

import jwt
import pytest

from mypages.auth import authenticator
from mypages.auth.authenticator import proxy_base
from plugin.errors import UnverifiableError, VerificationError
from plugin.platforms.base import BasePlatform, ProxiedShopper, ShopCredentials, ShopperProof
from plugin.platforms.registry import PLATFORMS
from webhooks.processing import processor

DOMAIN = "web.example.com"


def _sign(secret: str, query: dict[str, str]) -> str:
    return hmac.new(secret.encode(), urlencode(sorted(query.items())).encode(), hashlib.sha256).hexdigest()


class Proxying(BasePlatform):
    """A minimal platform with a proxy and shopper tokens of its own. Signatures are verified."""

    slug = "proxying"

    def claimed_proxy_domain(self, query_string: str) -> str | None:
        return parse_qs(query_string).get("shop", [None])[0]

    def verify_proxy_request(self, query_string: str, shop: ShopCredentials, now: datetime) -> ProxiedShopper:
        parameters = {name: values[0] for name, values in parse_qs(query_string, keep_blank_values=True).items()}
        signature = parameters.pop("signature", "")
        if not hmac.compare_digest(signature, _sign(shop.webhook_secrets[0], parameters)):
            raise VerificationError("The signature does not match.")
        if abs(now.timestamp() - float(parameters["timestamp"])) > 90:
            raise VerificationError("The request is too old.")
        return ProxiedShopper(parameters["customer"] or None, parameters["prefix"], "de-DE")

    def verify_shopper_token(self, token: str, _shop: ShopCredentials, _now: datetime) -> ShopperProof:
        if "away" in jwt.decode(token, options={"verify_signature": False})["iss"]:
            raise UnverifiableError("The keys cannot be fetched now.")
        raise VerificationError("Not one of ours.")


@pytest.fixture
def proxied(pages: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    for module in (authenticator, processor):
        monkeypatch.setattr(module, "PLATFORMS", {**PLATFORMS, "proxying": Proxying()})
    shop = pages.add_shop("web", platform="proxying", shop_domain=DOMAIN, login_url="https://web.example.com/login")
    contact_id = pages.contact(shop, "1", firstName="Ada")
    pages.contact(shop, "2", firstName="Bea")

    def query(customer: str = "1", prefix: str = "/apps/club", **more: str) -> dict[str, str]:
        parameters = {
            "shop": DOMAIN,
            "customer": customer,
            "prefix": prefix,
            "timestamp": str(pages.clock().timestamp()),
            **more,
        }
        return {**parameters, "signature": _sign(shop.webhook_secrets[0], parameters)}

    return pages, shop, contact_id, query


def test_a_page_is_shown_inside_the_theme_with_links_of_the_shop(proxied: Any) -> None:
    pages, _, _, query = proxied
    answer = pages.browser().get("/mypages/proxy/proxying/profile", query_string=query())
    assert answer.status_code == 200
    assert answer.mimetype == "application/liquid"
    assert "Ada" in answer.text
    assert "<html" not in answer.text
    assert 'href="/apps/club/promotions"' in answer.text
    assert "/mypages/web/" not in answer.text
    assert "http://127.0.0.1:8000/mypages/static/" in answer.text
    assert "Set-Cookie" not in answer.headers
    assert "Content-Security-Policy" not in answer.headers
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Profil" in answer.text  # in the language that the shop names


def test_every_part_is_available_through_the_proxy(proxied: Any) -> None:
    pages, shop, _, query = proxied
    pages.order(shop, "9001")
    for path in ("", "/", "/profile", "/transactions", "/promotions", "/transactions/web-9001"):
        assert pages.browser().get(f"/mypages/proxy/proxying{path}", query_string=query()).status_code == 200


def test_a_form_works_without_any_cookie(proxied: Any) -> None:
    pages, _, contact_id, query = proxied
    page = pages.browser().get(
        "/mypages/proxy/proxying/profile", query_string=query(), headers={"Accept": "application/json"}
    )
    form = {"csrf": page.json["csrf"], "firstName": "Adele"}
    answer = pages.browser().post("/mypages/proxy/proxying/profile", query_string=query(), data=form)
    assert answer.status_code == 200  # no redirect: a proxy may follow it without a signature
    assert "Adele" in answer.text
    assert pages.work() == ["delivered"]
    assert pages.engage(contact_id)["attributes"]["firstName"] == "Adele"
    stranger = pages.browser().post("/mypages/proxy/proxying/profile", query_string=query("2"), data=form)
    assert stranger.status_code == 403
    bare = pages.browser().post("/mypages/proxy/proxying/profile", query_string=query(), data={"firstName": "Eve"})
    assert bare.status_code == 403


def test_text_that_looks_like_liquid_is_escaped(proxied: Any) -> None:
    pages, shop, _, query = proxied
    contact_id = pages.contact(shop, "3", firstName="{{ shop.secret }}", city="{% include 'x' %}", street="{{{")
    assert contact_id
    text = pages.browser().get("/mypages/proxy/proxying/profile", query_string=query("3")).text
    assert "{{" not in text
    assert "{%" not in text
    assert "&#123;&#123; shop.secret" in text


@pytest.mark.parametrize(
    "change", [{"signature": "0" * 64}, {"customer": "2"}, {"page": "2"}, {"timestamp": "1"}, {"prefix": "/x"}]
)
def test_a_changed_or_old_request_is_refused(proxied: Any, change: dict[str, str]) -> None:
    pages, _, _, query = proxied
    answer = pages.browser().get("/mypages/proxy/proxying/profile", query_string={**query(), **change})
    assert answer.status_code == 401
    assert "Ada" not in answer.text
    assert "Bea" not in answer.text


def test_a_visitor_without_a_login_gets_a_link_to_the_login(proxied: Any) -> None:
    pages, _, _, query = proxied
    answer = pages.browser().get("/mypages/proxy/proxying/", query_string=query(""))
    assert answer.status_code == 200
    assert "https://web.example.com/login" in answer.text


@pytest.mark.parametrize("path", ["/mypages/proxy/proxying/?shop=nobody.example", "/mypages/proxy/proxying/", "/mypages/proxy/nothing/",
                                  "/mypages/proxy/standard/?shop=web.example.com"])  # fmt: skip
def test_an_unknown_shop_or_platform_is_not_found(proxied: Any, path: str) -> None:
    pages, *_ = proxied
    assert pages.browser().get(path).status_code == 404


@pytest.mark.parametrize(
    ("prefix", "base"),
    [
        ("/apps/club", "/apps/club/"),
        ("/apps/club/", "/apps/club/"),
        ("", "/"),
        ("https://evil.example/apps", "/apps/"),
        ("//evil.example/apps", "/apps/"),
        ("/\\evil.example", "/evil.example/"),
        ('/a"onload="x', "/a%22onload%3D%22x/"),
    ],
)
def test_links_stay_in_the_shop(prefix: str, base: str) -> None:
    assert proxy_base(prefix) == base


def test_a_token_that_cannot_be_verified_now_is_answered_503(proxied: Any) -> None:
    pages, shop, *_ = proxied
    for issuer, status in (("https://shop.example/graphql/", 401), ("https://away.example/graphql/", 503)):
        token = pages.token(shop, iss=issuer, aud=None)
        assert pages.browser().post("/mypages/web/session", data={"token": token}).status_code == status
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        assert pages.browser().get("/mypages/web/", headers=headers).status_code == status


def test_shopifys_own_proxy_shows_a_page_in_the_theme(pages: Any) -> None:
    domain = "kiosk.myshopify.com"
    shop = pages.add_shop("kiosk", platform="shopify", shop_domain=domain)
    pages.contact(shop, "77", firstName="Ada")
    query = {
        "shop": domain, "logged_in_customer_id": "77", "path_prefix": "/apps/club", "timestamp": str(int(pages.clock().timestamp())),
    }  # fmt: skip
    signed = "".join(sorted(f"{name}={value}" for name, value in query.items()))
    query["signature"] = hmac.new(shop.webhook_secrets[0].encode(), signed.encode(), hashlib.sha256).hexdigest()
    answer = pages.browser().get("/mypages/proxy/shopify/profile", query_string=query)
    assert (answer.status_code, answer.mimetype) == (200, "application/liquid")
    assert "Ada" in answer.text
    assert 'href="/apps/club/transactions"' in answer.text
    answer = pages.browser().get(
        "/mypages/proxy/shopify/profile", query_string={**query, "logged_in_customer_id": "78"}
    )
    assert answer.status_code == 401
