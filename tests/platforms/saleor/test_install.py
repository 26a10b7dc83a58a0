"""Installation in Saleor: the manifest as Saleor checks it, the token's registration, and the app's page."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.captured import captured_request, more_payloads
from support.helpers import Clock
from support.saleor_shop import Shop, faults_of, private_key, running_saleor, schema

from plugin.installation.manifest import load_manifest
from plugin.installation.service import ShopInstallationService
from plugin.platforms import http
from plugin.platforms.base import WebhookRequest
from plugin.platforms.registry import PLATFORMS
from plugin.platforms.saleor import Saleor
from plugin.store.database.engine import Database
from plugin.store.shops.installations import PendingInstallations
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import NewShop
from plugin.store.shops.vault import Vault

PUBLIC = "https://plugin.example"
PERMISSIONS = {"MANAGE_USERS", "MANAGE_ORDERS", "MANAGE_PRODUCTS", "HANDLE_PAYMENTS", "MANAGE_APPS"}
ADDRESSES = ("appUrl", "configurationUrl", "tokenTargetUrl", "dataPrivacyUrl", "homepageUrl", "supportUrl")
#: What apps of others look like: no webhooks, empty texts, and extensions at relative addresses.
ANOTHER_APP = {
    "id": "stock.example", "name": "Stock", "version": "2.1.0", "about": "", "dataPrivacy": "", "dataPrivacyUrl": "",
    "homepageUrl": "https://stock.example/", "supportUrl": "https://stock.example/help", "permissions": ["MANAGE_PRODUCTS"],
    "appUrl": "https://stock.example/app", "configurationUrl": "https://stock.example/settings/",
    "tokenTargetUrl": "https://stock.example/register",
    "extensions": [
        {"label": "Count", "mount": "PRODUCT_OVERVIEW_CREATE", "target": "POPUP", "permissions": ["MANAGE_PRODUCTS"],
         "url": "https://stock.example/count"},
        {"label": "Shelves", "mount": "PRODUCT_OVERVIEW_MORE_ACTIONS", "target": "APP_PAGE", "permissions": [],
         "url": "/extension/shelves"},
    ],
}  # fmt: skip
HEADER = re.compile(r"^(X-|Authorization)", re.IGNORECASE)


def faults_in(manifest: dict[str, Any]) -> list[str]:
    """Check a manifest as Saleor does (docs/platforms/saleor.md#installation); return its faults."""
    faults = [f"{name}: required" for name in ("id", "name", "version") if not isinstance(manifest.get(name), str)]
    faults += [f"{name}: no address" for name in ADDRESSES if not _address(manifest.get(name) or "https://x.example")]
    faults += [f"permission {name}" for name in manifest.get("permissions", []) if name not in PERMISSIONS]
    if "author" in manifest and not str(manifest["author"]).strip():
        faults.append("author: blank")
    needed = manifest.get("requiredSaleorVersion")
    if needed is not None and not re.match(r"^[\^~]?\d+(\.\d+){0,2}$", needed):
        faults.append("requiredSaleorVersion: no range")
    if "brand" in manifest and not _address(((manifest["brand"] or {}).get("logo") or {}).get("default")):
        faults.append("brand: no logo")
    for extension in manifest.get("extensions", []):
        faults += [f"extension: {name}" for name in ("label", "url", "mount") if not extension.get(name)]
        out_of_scope = set(extension.get("permissions", [])) - set(manifest.get("permissions", []))
        faults += [f"extension permission {name}" for name in sorted(out_of_scope)]
    for webhook in manifest.get("webhooks", []):
        faults += _webhook_faults(webhook)
    return faults


def _webhook_faults(webhook: dict[str, Any]) -> list[str]:
    faults = [f"webhook: {name}" for name in ("name", "targetUrl", "query") if not webhook.get(name)]
    if urlsplit(str(webhook.get("targetUrl"))).scheme not in {"http", "https", "awssqs", "gcpubsub"}:
        faults.append("webhook: targetUrl")
    if not isinstance(webhook.get("isActive", True), bool):
        faults.append("webhook: isActive")
    event_names = set(schema().type_map["WebhookEventTypeAsyncEnum"].values)  # type: ignore[attr-defined]
    faults += [f"webhook: event {name}" for name in webhook.get("asyncEvents", []) if name not in event_names]
    faults += [f"webhook: event {name}" for name in webhook.get("syncEvents", [])]
    headers = webhook.get("customHeaders") or {}
    faults += [f"webhook: header {name}" for name in headers if not HEADER.match(name)]
    if len(headers) > 5 or any(len(value) > 998 for value in headers.values()):
        faults.append("webhook: headers")
    if len(webhook.get("identifier", "")) > 256:
        faults.append("webhook: identifier")
    return faults + [f"webhook: query: {fault}" for fault in faults_of(webhook.get("query") or "{ x }")]


def _address(value: Any) -> bool:
    parts = urlsplit(value if isinstance(value, str) else "")
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


@pytest.mark.parametrize("public", [PUBLIC, "http://127.0.0.1:8000"])
def test_the_manifest_is_valid_for_saleor(public: str) -> None:
    manifest = json.loads(json.dumps(load_manifest(PLATFORMS).absolute(public)))
    assert faults_in(manifest) == []
    assert set(manifest["permissions"]) == {"MANAGE_USERS", "MANAGE_ORDERS"}
    assert manifest["tokenTargetUrl"] == f"{public}/install/saleor/token"
    assert {webhook["targetUrl"] for webhook in manifest["webhooks"]} == {f"{public}/webhooks/saleor"}
    topics = [topic.lower() for webhook in manifest["webhooks"] for topic in webhook["asyncEvents"]]
    assert sorted(topics) == sorted(PLATFORMS["saleor"].topics)


def test_the_manifest_check_finds_faults_and_accepts_other_apps_manifests() -> None:
    good = load_manifest(PLATFORMS).absolute(PUBLIC)
    webhook = good["webhooks"][0]
    for harm, fault in [
        ({"id": None}, "id: required"),
        ({"tokenTargetUrl": "/token"}, "tokenTargetUrl: no address"),
        ({"permissions": ["MANAGE_EVERYTHING"]}, "permission MANAGE_EVERYTHING"),
        ({"author": " "}, "author: blank"),
        ({"requiredSaleorVersion": "new"}, "requiredSaleorVersion"),
        ({"brand": {}}, "brand"),
        ({"webhooks": [{**webhook, "query": "subscription { event { nothing } }"}]}, "query"),
        ({"webhooks": [{**webhook, "asyncEvents": ["ORDER_EATEN"]}]}, "ORDER_EATEN"),
        ({"webhooks": [{**webhook, "customHeaders": {"Cookie": "x"}}]}, "header Cookie"),
    ]:
        assert any(fault in message for message in faults_in({**good, **harm})), fault
    assert faults_in(ANOTHER_APP) == []
    for path in more_payloads("saleor"):
        if "manifest" in path.name:
            assert faults_in(json.loads(path.read_bytes())) == []


# --- the token ---


@pytest.fixture(scope="module")
def running() -> Iterator[Shop]:
    with running_saleor() as shop:
        yield shop


@pytest.fixture
def saleor(running: Shop) -> Shop:
    running.asked.clear()
    running.app, running.broken, running.keys, running.token = Shop().app, 0, ["key-1"], "token-of-the-app"
    return running


@pytest.fixture
def installation(database: Database, vault: Vault, shops: Shops, clock: Clock, saleor: Shop) -> ShopInstallationService:
    for name, domain in (("kiosk", saleor.domain), ("other", "other.example")):
        shops.add(NewShop(name, "saleor", "http://127.0.0.1:9", "k", "secret", {"store": "s"}, domain), clock())
    return ShopInstallationService(
        PUBLIC, shops, PendingInstallations(database, vault), {}, clock, load_manifest(PLATFORMS).content
    )


@pytest.fixture
def web(installation: ShopInstallationService) -> FlaskClient:
    app = Flask("install")
    app.register_blueprint(Saleor().install_routes(installation))
    return app.test_client()


def register(web: FlaskClient, api_url: str | None, token: Any = "token-of-the-app", **options: Any) -> Any:
    headers = {"Saleor-Domain": "x", "Saleor-Schema-Version": "3.24"} | (
        {} if api_url is None else {"Saleor-Api-Url": api_url}
    )
    body = options or {"json": {"auth_token": token}}
    return web.post("/install/saleor/token", headers=headers, **body)


def test_a_token_is_checked_and_stored_with_the_shops_keys(web: FlaskClient, shops: Shops, saleor: Shop) -> None:
    answer = register(web, saleor.api_url)
    assert (answer.status_code, answer.json) == (200, {"installed": "kiosk"})
    credentials = shops.get("kiosk").credentials
    assert (credentials["api_url"], credentials["token"], credentials["app_id"]) == (
        saleor.api_url,
        "token-of-the-app",
        "QXBwOjE=",
    )
    assert [key["kid"] for key in credentials["jwks"]["keys"]] == ["key-1"]
    assert saleor.asked == ["EngageProof", "/.well-known/jwks.json"]
    assert shops.get("other").credentials == {}


def test_a_token_request_of_a_real_shop_is_accepted(web: FlaskClient, shops: Shops, saleor: Shop) -> None:
    request = captured_request("saleor-3.24/0002-install_saleor_token")
    headers = {name: value for name, value in request.headers.items() if name not in {"host", "content-length"}}
    body = request.body.replace(b"XXX", b"token-of-the-app")
    answer = web.post("/install/saleor/token", headers={**headers, "saleor-api-url": saleor.api_url}, data=body)
    assert (answer.status_code, answer.json) == (200, {"installed": "kiosk"})
    assert shops.get("kiosk").credentials["token"] == "token-of-the-app"


def test_the_stored_keys_verify_the_first_webhook_without_a_call(
    web: FlaskClient, shops: Shops, saleor: Shop, clock: Clock
) -> None:
    register(web, saleor.api_url)
    saleor.asked.clear()
    headers = {name.lower(): value for name, value in saleor.headers("order_fully_paid", b"{}").items()}
    delivery = Saleor().verify(WebhookRequest(headers, b"{}"), shops.get("kiosk"), clock())
    assert (delivery.shop_domain, saleor.asked) == (saleor.domain, [])


def test_installing_again_stores_a_new_token_and_restarts_deliveries(
    web: FlaskClient, shops: Shops, saleor: Shop
) -> None:
    register(web, saleor.api_url)
    shops.stop(shops.get("kiosk").id, "The shop removed the plugin.")
    saleor.token, saleor.app["id"], saleor.keys = "a-new-token", "QXBwOjI=", ["key-2"]
    assert register(web, saleor.api_url, "a-new-token").status_code == 200
    installed = shops.get("kiosk")
    assert (installed.credentials["token"], installed.credentials["app_id"], installed.stopped_reason) == (
        "a-new-token", "QXBwOjI=", None,
    )  # fmt: skip
    assert installed.credentials["former_app_id"] == "QXBwOjE="
    assert register(web, saleor.api_url, "a-new-token").status_code == 200
    assert shops.get("kiosk").credentials["former_app_id"] == "QXBwOjE=", "the same app again is not its own former one"


def test_webhooks_sent_to_the_former_app_are_mapped_after_a_reinstallation(
    web: FlaskClient, shops: Shops, saleor: Shop, clock: Clock
) -> None:
    register(web, saleor.api_url)
    saleor.token, saleor.app["id"] = "a-new-token", "QXBwOjI="
    register(web, saleor.api_url, "a-new-token")
    for recipient, taken in (("QXBwOjE=", True), ("QXBwOjI=", True), ("QXBwOjM=", False)):
        body = json.dumps({"user": {"id": "VXNlcjox"}, "recipient": {"id": recipient}}).encode()
        headers = {name.lower(): value for name, value in saleor.headers("customer_updated", body).items()}
        delivery = Saleor().verify(WebhookRequest(headers, body), shops.get("kiosk"), clock())
        assert bool(Saleor().normalise(delivery, body, clock()).events) is taken


def test_a_token_unknown_to_the_shop_changes_nothing(web: FlaskClient, shops: Shops, saleor: Shop) -> None:
    register(web, saleor.api_url)
    answer = register(web, saleor.api_url, "forged")
    assert answer.status_code == 403
    assert "does not know this token" in answer.json["error"]["message"]
    assert shops.get("kiosk").credentials["token"] == "token-of-the-app"


def test_the_token_of_another_app_is_refused(web: FlaskClient, shops: Shops, saleor: Shop) -> None:
    saleor.app["identifier"] = "evil-app"
    answer = register(web, saleor.api_url)
    assert (answer.status_code, answer.json["error"]["message"]) == (403, "The token belongs to another app.")
    assert shops.get("kiosk").credentials == {}


@pytest.mark.parametrize(
    "api_url",
    [
        None, "", "nonsense", "http://169.254.169.254/latest/meta-data/", "https://evil.example/graphql/",
        "http://localhost:6379/", "http://evil.example/graphql/", "https://other.example:444/graphql/",
        "http://other.example/graphql/", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_an_unregistered_address_is_never_called(
    web: FlaskClient, shops: Shops, saleor: Shop, monkeypatch: pytest.MonkeyPatch, api_url: str | None
) -> None:
    def called(*_: object, **__: object) -> None:
        raise AssertionError("something was called")

    monkeypatch.setattr(http.ShopHttp, "send", called)
    answer = register(web, api_url)
    assert answer.status_code == 403
    assert answer.json["error"]["message"]
    assert all(shops.get(name).credentials == {} for name in ("kiosk", "other"))


@pytest.mark.parametrize(
    "body",
    [
        {"json": {}}, {"json": {"auth_token": ""}}, {"json": {"auth_token": 7}}, {"json": ["auth_token"]},
        {"json": {"auth_token": "line\nbreak"}}, {"json": {"auth_token": "t" * 2000}}, {"data": b"\xff"},
        {"data": b"{", "content_type": "application/json"}, {"json": {"auth_token": "t", "pad": "x" * 9000}},
    ],
)  # fmt: skip
def test_a_body_without_a_token_is_refused_before_any_call(
    web: FlaskClient, saleor: Shop, body: dict[str, Any]
) -> None:
    assert register(web, saleor.api_url, **body).status_code == 403
    assert saleor.asked == []


def test_an_unreachable_shop_is_asked_to_retry_and_nothing_is_stored(
    web: FlaskClient, shops: Shops, saleor: Shop
) -> None:
    saleor.broken = 502
    answer = register(web, saleor.api_url)
    assert answer.status_code == 503
    assert "Install the app again" in answer.json["error"]["message"]
    saleor.broken = 0
    saleor.keys = []
    assert register(web, saleor.api_url).status_code == 403
    assert shops.get("kiosk").credentials == {}


def test_the_steps_name_the_manifest_and_the_addresses(
    installation: ShopInstallationService, shops: Shops, clock: Clock
) -> None:
    steps = Saleor().install_steps(installation, shops.get("kiosk"))
    assert f"{PUBLIC}/manifest.json" in steps[0]
    nameless = NewShop("nameless", "saleor", "http://127.0.0.1:9", "k", "s", {"store": "s"})
    assert "--shop-domain" in Saleor().install_steps(installation, shops.add(nameless, clock()))[0]


# --- the page of the app ---


def staff_token(saleor: Shop, clock: Clock, **claims: Any) -> str:
    return saleor.customer_token(
        clock(), **{"type": "thirdparty", "is_staff": True, "app": "QXBwOjE=", "permissions": [], **claims}
    )


def status(web: FlaskClient, token: str) -> Any:
    return web.get("/install/saleor/status", headers={"Authorization": f"Bearer {token}"})


def test_the_page_discloses_nothing_and_runs_only_its_own_script(web: FlaskClient) -> None:
    page = web.get("/install/saleor/?id=x&saleorApiUrl=https://kiosk.example/graphql/&domain=kiosk.example")
    assert page.status_code == 200
    assert "kiosk" not in page.text
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    for address in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        with web.get(address) as file:
            assert file.status_code == 200, address


def test_staff_see_the_connected_shop(web: FlaskClient, saleor: Shop, clock: Clock) -> None:
    register(web, saleor.api_url)
    shown = status(web, staff_token(saleor, clock)).json
    assert (shown["name"], shown["problem"]) == ("Kiosk", None)
    assert {webhook["problem"] for webhook in shown["webhooks"]} == {"there is no webhook for it"}
    saleor.broken = 503
    assert "503" in status(web, staff_token(saleor, clock)).json["problem"]


@pytest.mark.parametrize(
    "claims",
    [{"type": "access"}, {"is_staff": False}, {"app": "QXBwOjk="}, {"iss": "https://evil.example/"}, {"exp": 1}],
)
def test_users_who_are_not_staff_see_nothing(
    web: FlaskClient, saleor: Shop, clock: Clock, claims: dict[str, Any]
) -> None:
    register(web, saleor.api_url)
    assert status(web, staff_token(saleor, clock, **claims)).status_code == 401


def test_the_page_without_a_valid_token_is_refused(web: FlaskClient, saleor: Shop, clock: Clock) -> None:
    assert web.get("/install/saleor/status").status_code == 401
    forged = jwt.encode({"iss": saleor.api_url}, private_key("evil"), "RS256", headers={"kid": "key-1"})
    for token in ("", "x", "a.b.c", forged):
        assert status(web, token).status_code == 401
    assert status(web, staff_token(saleor, clock)).status_code == 401, "before the installation"


@pytest.mark.parametrize("body", [b"[" * 4000, b'{"auth_token": "\\ud800"}', b"9" * 4000, b"\xff"])
def test_an_unreadable_body_is_refused(web: FlaskClient, saleor: Shop, body: bytes) -> None:
    answer = register(web, saleor.api_url, data=body, content_type="application/json")
    assert answer.status_code == 403
