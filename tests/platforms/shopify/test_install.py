"""Installing at Shopify: the app's configuration, and the authorization code grant against a stand-in over real HTTP."""

import hashlib
import hmac
import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.captured import vector
from support.helpers import Clock
from support.shopify_shop import CLIENT_ID, CLIENT_SECRET, CODE, DOMAIN, ShopifyShop

from plugin.errors import VerificationError
from plugin.installation.service import ShopInstallationService
from plugin.platforms.shopify import SHOPIFY, AppOptions
from plugin.platforms.shopify.queries import check_redirect, shop_domain
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import RegisteredShop


@pytest.fixture
def web(installation: ShopInstallationService, kiosk: RegisteredShop) -> FlaskClient:
    app = Flask("install")
    app.register_blueprint(SHOPIFY.install_routes(installation))
    return app.test_client()


def signed(clock: Clock, *, secret: str = CLIENT_SECRET, age_s: int = 0, **parameters: str) -> str:
    """Return a query as Shopify signs it."""
    values = {"timestamp": str(int(clock().timestamp()) - age_s), **parameters}
    text = "&".join(f"{name}={value}" for name, value in sorted(values.items()))
    return urlencode({**values, "hmac": hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()})


def begin(web: FlaskClient) -> dict[str, str]:
    answer = web.get(f"/install/shopify?shop={DOMAIN}")
    assert answer.status_code == 302, answer.text
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.location).query).items()}


# --- the app's configuration ---


def test_the_configuration_is_rendered_from_the_manifest(web: FlaskClient) -> None:
    answer = web.get("/install/shopify/shopify.app.toml")
    configuration = tomllib.loads(answer.text)
    assert (configuration["client_id"], configuration["embedded"]) == (CLIENT_ID, False)
    assert configuration["application_url"] == "https://plugin.example/install/shopify"
    assert configuration["auth"]["redirect_urls"] == ["https://plugin.example/install/shopify/callback"]
    assert configuration["access_scopes"]["scopes"] == "read_customers,read_orders,write_app_proxy"
    assert configuration["app_proxy"]["url"] == "https://plugin.example/mypages/proxy/shopify"
    normal, compliance = configuration["webhooks"]["subscriptions"]
    assert set(normal["topics"]) | set(compliance["compliance_topics"]) == set(SHOPIFY.topics)
    assert {normal["uri"], compliance["uri"]} == {"https://plugin.example/webhooks/shopify"}
    assert CLIENT_SECRET not in answer.text


def test_an_event_that_the_manifest_does_not_list_is_not_subscribed(installation: ShopInstallationService) -> None:
    content = {
        **installation.manifest,
        "events": [{"event": "OrderPaid"}],
        "pages": [],
        "permissions": ["MANAGE_ORDERS"],
    }
    configuration = tomllib.loads(SHOPIFY.app_configuration(replace(installation, manifest=content), "x"))
    assert configuration["webhooks"]["subscriptions"][0]["topics"] == ["orders/paid"]
    assert configuration["access_scopes"]["scopes"] == "read_orders"
    assert "app_proxy" not in configuration


# --- authorization ---


def test_the_grant_stores_an_encrypted_token(
    web: FlaskClient, shopify_server: ShopifyShop, clock: Clock, shops: Shops
) -> None:
    asked = begin(web)
    assert asked["client_id"] == CLIENT_ID
    assert asked["redirect_uri"] == "https://plugin.example/install/shopify/callback"
    query = signed(clock, code=CODE, shop=DOMAIN, state=asked["state"], host="YWRtaW4uc2hvcGlmeS5jb20vc3RvcmU=")
    answer = web.get(f"/install/shopify/callback?{query}")
    assert answer.status_code == 200, answer.text
    stored = shops.get("kiosk")
    assert (stored.credentials["access_token"], stored.credentials["refresh_token"]) == ("shpat_1", "shprt_2")
    assert stored.credentials["expires_at"] == datetime(2026, 3, 5, 10, 30, tzinfo=UTC).isoformat()
    assert stored.webhook_secrets == (CLIENT_SECRET,)
    assert "shpat_" not in answer.text
    (sent,) = shopify_server.exchanged
    assert sent == {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "code": CODE, "expiring": "1"}
    again = web.get(f"/install/shopify/callback?{query}")  # the state was used up
    assert again.status_code == 401
    assert len(shopify_server.exchanged) == 1


def test_a_token_that_does_not_expire_is_stored_without_a_refresh_token(
    web: FlaskClient, shopify_server: ShopifyShop, clock: Clock, shops: Shops
) -> None:
    shopify_server.expiring = False
    state = begin(web)["state"]
    answer = web.get(f"/install/shopify/callback?{signed(clock, code=CODE, shop=DOMAIN, state=state)}")
    assert answer.status_code == 200
    assert "refresh_token" not in shops.get("kiosk").credentials


def test_missing_scopes_are_listed_on_the_page(web: FlaskClient, shopify_server: ShopifyShop, clock: Clock) -> None:
    shopify_server.scopes = "write_customers"  # holds read_customers
    state = begin(web)["state"]
    answer = web.get(f"/install/shopify/callback?{signed(clock, code=CODE, shop=DOMAIN, state=state)}")
    assert "Not granted: read_orders, write_app_proxy." in answer.text


def test_an_installation_restarts_a_stopped_shop(
    web: FlaskClient, shopify_server: ShopifyShop, clock: Clock, shops: Shops, kiosk: RegisteredShop
) -> None:
    shops.uninstall(kiosk.id, "The shop removed the plugin.")
    state = begin(web)["state"]
    web.get(f"/install/shopify/callback?{signed(clock, code=CODE, shop=DOMAIN, state=state)}")
    assert shops.get("kiosk").stopped_reason is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"secret": "shpss_another"}, "hmac"),
        ({"age_s": 91}, "90 s"),
        ({"age_s": -91}, "90 s"),
        ({"shop": "other.myshopify.com"}, "not begun here"),
        ({"shop": "kiosk.myshopify.com.evil.example"}, "not begun here"),
        ({"state": "a guess"}, "not begun here"),
        ({"timestamp": "soon"}, "timestamp"),
    ],
)
def test_a_forged_or_stale_callback_is_refused_and_stores_nothing(
    web: FlaskClient, shopify_server: ShopifyShop, clock: Clock, shops: Shops, changes: dict[str, str], why: str
) -> None:
    values = {"code": CODE, "shop": DOMAIN, "state": begin(web)["state"], **changes}
    answer = web.get(f"/install/shopify/callback?{signed(clock, **values)}")  # type: ignore[arg-type]
    assert answer.status_code == 401
    assert why in answer.text
    assert shops.get("kiosk").credentials == {}
    assert shopify_server.exchanged == []


def test_a_state_of_another_browser_is_refused(web: FlaskClient, shopify_server: ShopifyShop, clock: Clock) -> None:
    query = signed(clock, code=CODE, shop=DOMAIN, state=begin(web)["state"])
    web.delete_cookie("engage-install", path="/install/shopify")
    assert web.get(f"/install/shopify/callback?{query}").status_code == 401
    assert shopify_server.exchanged == []


def test_a_state_of_another_shop_is_refused(
    web: FlaskClient,
    installation: ShopInstallationService,
    shopify_server: ShopifyShop,
    clock: Clock,
    shop: RegisteredShop,
) -> None:
    state = installation.begin(shop.name, {})  # of the standard platform
    assert web.get(f"/install/shopify/callback?{signed(clock, code=CODE, shop=DOMAIN, state=state)}").status_code == 401


def test_a_code_that_shopify_refuses_is_reported_without_a_secret(
    web: FlaskClient, shopify_server: ShopifyShop, clock: Clock, shops: Shops
) -> None:
    state = begin(web)["state"]
    answer = web.get(f"/install/shopify/callback?{signed(clock, code='stale', shop=DOMAIN, state=state)}")
    assert answer.status_code == 502
    assert CLIENT_SECRET not in answer.text
    assert shops.get("kiosk").credentials == {}


@pytest.mark.parametrize(
    "shop",
    ["", "other.myshopify.com", "evil.example", f"{DOMAIN}.evil.example", f"{DOMAIN}@evil.example", "<script>"],
)
def test_only_registered_shops_can_be_installed(web: FlaskClient, shop: str) -> None:
    answer = web.get("/install/shopify", query_string={"shop": shop})
    assert answer.status_code == 404
    assert "<script>" not in answer.text


def test_opening_the_app_in_the_admin_requires_shopifys_hmac(web: FlaskClient, clock: Clock) -> None:
    assert web.get(f"/install/shopify?{signed(clock, shop=DOMAIN, secret='shpss_x')}").status_code == 401
    assert web.get(f"/install/shopify?{signed(clock, shop=DOMAIN)}").status_code == 302


def test_an_installed_app_shows_its_page_and_an_invalid_token_restarts_the_grant(
    web: FlaskClient, shopify_server: ShopifyShop, clock: Clock
) -> None:
    state = begin(web)["state"]
    web.get(f"/install/shopify/callback?{signed(clock, code=CODE, shop=DOMAIN, state=state)}")
    assert web.get(f"/install/shopify?{signed(clock, shop=DOMAIN)}").status_code == 200
    shopify_server.tokens = set()
    shopify_server.refresh_token = "gone"
    assert web.get(f"/install/shopify?{signed(clock, shop=DOMAIN)}").status_code == 302


def test_without_app_credentials_the_page_names_the_settings_to_set(
    installation: ShopInstallationService, kiosk: RegisteredShop
) -> None:
    app = Flask("install")
    app.register_blueprint(SHOPIFY.install_routes(replace(installation, app_credentials={})))
    answer = app.test_client().get(f"/install/shopify?shop={DOMAIN}")
    assert answer.status_code == 503
    assert "SHOPIFY_CLIENT_ID" in answer.text
    steps = SHOPIFY.install_steps(replace(installation, app_credentials={}), kiosk)
    assert "SHOPIFY_CLIENT_SECRET" in steps[0]
    assert any(f"https://plugin.example/install/shopify?shop={DOMAIN}" in step for step in steps)


def test_the_callback_subscribes_where_the_plugin_manages_subscriptions(
    web: FlaskClient, shopify_server: ShopifyShop, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SHOPIFY, "options", AppOptions(by_shop=True))
    state = begin(web)["state"]
    web.get(f"/install/shopify/callback?{signed(clock, code=CODE, shop=DOMAIN, state=state)}")
    assert {webhook["address"] for webhook in shopify_server.webhooks} == {
        "https://plugin.example/webhooks/shopify/kiosk"
    }
    assert len(shopify_server.webhooks) == len(SHOPIFY.topics) - 3
    compliance = tomllib.loads(web.get("/install/shopify/shopify.app.toml").text)["webhooks"]["subscriptions"]
    assert [set(entry) for entry in compliance] == [{"compliance_topics", "uri"}]


# --- the query itself ---


def test_the_vendors_test_vector_is_accepted() -> None:
    example = vector("shopify_oauth_query")
    at = datetime.fromtimestamp(1337178173, UTC)
    assert check_redirect(example["query"], [example["client_secret"]], at)["shop"] == "some-shop.myshopify.com"
    for changed in (example["query"].replace("some-shop", "other"), example["query"] + "&x=1"):
        with pytest.raises(VerificationError):
            check_redirect(changed, [example["client_secret"]], at)


@pytest.mark.parametrize("name", ["hmac", "shop", "timestamp", "state", "code"])
def test_a_repeated_parameter_is_refused(clock: Clock, name: str) -> None:
    query = signed(clock, code=CODE, shop=DOMAIN, state="s")
    with pytest.raises(VerificationError, match="more than once"):
        check_redirect(f"{query}&{name}=x", [CLIENT_SECRET], clock())


def test_a_parameter_hidden_in_another_is_refused(clock: Clock) -> None:
    query = signed(clock, code=f"x&shop={DOMAIN}", state="s")
    with pytest.raises(VerificationError, match="does not send"):
        check_redirect(query, [CLIENT_SECRET], clock())


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("Kiosk.MyShopify.com/", "kiosk.myshopify.com"), ("a-b_1.myshopify.com", "a-b_1.myshopify.com"), ("x.shop.dev", "x.shop.dev"),
        ("-x.myshopify.com", None), ("x.myshopify.com.evil", None), ("evil.com/x.myshopify.com", None), ("x.myshopify.com:80", None),
        ("x@y.myshopify.com", None), ("x.y.myshopify.com", None), ("", None), (None, None), ("x.myshopify.com\n", "x.myshopify.com"),
    ],
)  # fmt: skip
def test_only_myshopify_domains_are_accepted_as_shops(text: str | None, domain: str | None) -> None:
    assert shop_domain(text) == domain
