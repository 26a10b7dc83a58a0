"""The companion plugin: PHP's linter, its token against our verifier, its pages and answers with a stand-in for WordPress."""

import html
import io
import json
import os
import re
import shutil
import subprocess
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.captured import CAPTURED
from support.helpers import Clock

from mypages.auth.sessions import Shopper, redeem_token
from plugin.cli import main
from plugin.errors import VerificationError
from plugin.events import ConsentChange, OrderPaid, OrderRefunded, UsedPromotion, UsedVoucher
from plugin.platforms.base import Delivery
from plugin.platforms.woocommerce import WOOCOMMERCE
from plugin.store.database.engine import Database
from plugin.store.shops.handover_tokens import UsedTokens
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import NewShop, RegisteredShop
from plugin.store.shops.vault import Vault

ROOT = Path(__file__).parents[3]
COMPANION = ROOT / "plugin/platforms/woocommerce/companion/engage-crm"
FIXTURES = CAPTURED / "woocommerce"
WORDPRESS = ROOT / "tests/support/php/wordpress.php"
SETTINGS = {
    "mypages_url": "https://plugin.example/mypages/butik/",
    "shop_name": "butik",
    "shopper_secret": "s" * 43,
    "menu_title": 'Mina förmåner <b>"',
    "email_text": "Nyheter & <i>erbjudanden</i>",
}


@pytest.fixture(scope="session")
def php() -> str:
    path = shutil.which("php")
    if path:
        return path
    if os.environ.get("CI"):
        pytest.fail("php is not installed: in CI nothing may be skipped")
    pytest.skip("php is not installed")


def run(php: str, code: str, **given: Any) -> Any:
    """Run PHP code with a stand-in for WordPress and the plugin loaded; `$given` holds the values, what it echoes is JSON."""
    script = f"require {str(WORDPRESS)!r}; $given = json_decode(stream_get_contents(STDIN), true); {code}"
    done = subprocess.run(
        [php, "-r", script], input=json.dumps(given).encode(), capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    return json.loads(done.stdout)


def page(php: str, code: str, **given: Any) -> str:
    """Return the HTML that code prints."""
    printed = run(php, f"ob_start(); {code} echo json_encode(ob_get_clean());", **given)
    assert isinstance(printed, str)
    return printed


@pytest.mark.parametrize("path", sorted(COMPANION.rglob("*.php")), ids=lambda path: path.name)
def test_every_file_is_valid_php(php: str, path: Path) -> None:
    done = subprocess.run([php, "-l", str(path)], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout.decode()


@pytest.mark.parametrize("path", sorted(COMPANION.rglob("*.php")), ids=lambda path: path.name)
def test_a_file_requested_directly_prints_nothing(php: str, path: Path) -> None:
    done = subprocess.run([php, str(path)], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, b"")


# --- the token ---


@pytest.fixture
def database(tmp_path: Path) -> Any:
    made = Database(f"sqlite:///{tmp_path / 'plugin.sqlite'}")
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def butik(database: Database, vault: Vault, clock: Clock) -> RegisteredShop:
    new = NewShop("butik", "woocommerce", "http://127.0.0.1:9", "k", "aSecret1", {"store": "web-se"}, "shop.example")
    return Shops(database, vault).add(new, clock())


TOKEN = "echo json_encode(engage_crm_token($given['secret'], $given['shop'], 7, $given['now'], $given['locale']));"


@pytest.mark.parametrize(
    ("locale", "language"),
    [("sv_SE", "sv-SE"), ("de_DE_formal", "de-DE"), ("fi", "fi"), ('"}<x>', None), (None, None), ("", None)],
)
def test_a_token_from_the_companion_starts_a_session_once(
    php: str, butik: RegisteredShop, database: Database, clock: Clock, locale: str | None, language: str | None
) -> None:
    token = run(php, TOKEN, secret=butik.shopper_secret, shop="butik", now=int(clock().timestamp()), locale=locale)
    used = UsedTokens(database)
    assert redeem_token(butik, WOOCOMMERCE, token, used, clock()) == Shopper("butik", "7", language)
    with pytest.raises(VerificationError, match="once"):
        redeem_token(butik, WOOCOMMERCE, token, used, clock())


def test_an_expired_forged_or_foreign_token_is_refused(
    php: str, butik: RegisteredShop, database: Database, clock: Clock
) -> None:
    now = int(clock().timestamp())
    token = run(php, TOKEN, secret=butik.shopper_secret, shop="butik", now=now, locale=None)
    forged = run(php, TOKEN, secret="x" * 43, shop="butik", now=now, locale=None)
    other = run(php, TOKEN, secret=butik.shopper_secret, shop="other", now=now, locale=None)
    clock.forward(200)
    for wrong in (token, forged, other):
        with pytest.raises(VerificationError):
            redeem_token(butik, WOOCOMMERCE, wrong, UsedTokens(database), clock())


# --- the page in My account ---

LOGGED_IN = "$GLOBALS['options']['engage_crm'] = $given; $GLOBALS['user_id'] = 7;"
PAGE = LOGGED_IN + "do_action('woocommerce_account_crm_endpoint');"


def test_the_token_is_in_a_form_and_not_in_an_address(php: str, butik: RegisteredShop, database: Database) -> None:
    shown = page(php, PAGE, **{**SETTINGS, "shopper_secret": butik.shopper_secret})
    (token,) = re.findall(r'<input type="hidden" name="token" value="([^"]+)">', shown)
    assert 'method="post" action="https://plugin.example/mypages/butik/session" target="engage-crm-frame"' in shown
    assert not any(token in address for address in re.findall(r'(?:href|src|action)="([^"]*)"', shown))
    assert butik.shopper_secret not in shown
    assert redeem_token(butik, WOOCOMMERCE, html.unescape(token), UsedTokens(database), datetime.now(UTC)) == Shopper(
        "butik", "7", "sv-SE"
    )


def test_printed_settings_are_escaped(php: str) -> None:
    shown = page(php, PAGE, **SETTINGS)
    assert "<b>" not in shown
    assert "Mina förmåner &lt;b&gt;&quot;" in shown
    shown = page(php, LOGGED_IN + "engage_crm_settings_page();", **SETTINGS)
    assert "<i>" not in shown
    assert SETTINGS["shopper_secret"] not in shown


def test_the_full_window_page_has_no_frame(php: str) -> None:
    shown = page(php, "$_GET['engage_window'] = '1';" + PAGE, **SETTINGS)
    assert "<iframe" not in shown
    assert "target=" not in shown


@pytest.mark.parametrize("missing", ["mypages_url", "shop_name", "shopper_secret"])
def test_without_settings_there_is_neither_page_nor_menu_link(php: str, missing: str) -> None:
    settings = {**SETTINGS, missing: ""}
    assert "<form" not in page(php, PAGE, **settings)
    menu = "echo json_encode(apply_filters('woocommerce_account_menu_items', array('customer-logout' => 'Log out')));"
    assert run(php, LOGGED_IN + menu, **settings) == {"customer-logout": "Log out"}
    assert list(run(php, LOGGED_IN + menu, **SETTINGS)) == ["crm", "customer-logout"]


def test_activation_flushes_rewrite_rules_and_the_page_is_not_cached(php: str) -> None:
    code = "do_action('activate'); do_action('template_redirect'); do_action('deactivate'); echo json_encode($called);"
    assert run(php, code) == ["endpoint crm 4160", "flush", "nocache", "flush"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"mypages_url": "https://p.example/mypages/butik"}, {"mypages_url": "https://p.example/mypages/butik/", "shop_name": "butik"}),
        ({"mypages_url": "http://p.example/mypages/butik/"}, {"mypages_url": "https://old.example/mypages/x/"}),
        ({"mypages_url": "javascript:alert(1)"}, {"mypages_url": ""}),
        ({"mypages_url": "http://127.0.0.1:8000/mypages/butik/"}, {"mypages_url": "http://127.0.0.1:8000/mypages/butik/"}),
        ({"shopper_secret": ""}, {"shopper_secret": "o" * 40}),
        ({"shopper_secret": "short"}, {"shopper_secret": "o" * 40}),
        ({"shopper_secret": "n" * 40}, {"shopper_secret": "n" * 40}),
        ({"email_text": "<script>x</script>Yes"}, {"email_text": "xYes"}),
    ],
)  # fmt: skip
def test_settings_are_sanitised(php: str, given: dict[str, str], expected: dict[str, str]) -> None:
    old = "array('mypages_url' => 'https://old.example/mypages/x/', 'shopper_secret' => str_repeat('o', 40))"
    code = f"$GLOBALS['options']['engage_crm'] = {old}; echo json_encode(engage_crm_sanitize($given));"
    saved = run(php, code, **given)
    assert {name: saved[name] for name in expected} == expected


# --- consents ---


@pytest.mark.parametrize(
    ("before", "ticked", "shown", "answer"),
    [
        ("", True, False, "yes"),
        ("", False, False, None),  # an empty box at the checkout was never answered
        ("no", False, False, None),
        ("no", True, False, "yes"),
        ("yes", True, True, None),  # no new answer
        ("yes", False, True, "no"),
        ("", False, True, None),
        ("yes", False, False, None),
    ],
)
def test_only_a_change_by_the_shopper_is_an_answer(
    php: str, before: str, ticked: bool, shown: bool, answer: str | None
) -> None:
    code = "echo json_encode((object) engage_crm_answer($given['before'], $given['ticked'], $given['shown'], 1772000000, 'account'));"
    result = run(php, code, before=before, ticked=ticked, shown=shown)
    expected = {} if answer is None else {"": answer, "_at": "2026-02-25T06:13:20Z", "_source": "account"}
    assert result == expected


CHECKOUT = LOGGED_IN + (
    "$_POST['engage_consent_email'] = '1'; $order = new WC_Order($given['customer']);"
    "do_action('woocommerce_checkout_create_order', $order); echo json_encode($order->meta);"
)


def test_a_tick_at_the_checkout_is_mapped_as_a_consent_of_the_order(php: str) -> None:
    meta = run(php, CHECKOUT, customer=0, **SETTINGS)
    assert sorted(meta) == ["engage_consent_email", "engage_consent_email_at", "engage_consent_email_source"]
    order = json.loads((FIXTURES / "order-updated-1-paid.json").read_bytes())
    order["meta_data"] = [{"id": 1, "key": key, "value": value} for key, value in meta.items()]
    (event,) = WOOCOMMERCE.normalise(Delivery("order.updated"), json.dumps(order).encode(), datetime.now(UTC)).events
    assert isinstance(event, OrderPaid)
    (change,) = event.consents
    assert isinstance(change, ConsentChange)
    assert (change.value, change.source) == (True, "checkout")
    assert change.at is not None
    assert (datetime.now(UTC) - change.at).total_seconds() < 300


def test_a_checkbox_without_text_is_neither_shown_nor_read(php: str) -> None:
    silent = {**SETTINGS, "email_text": ""}
    assert run(php, CHECKOUT, customer=0, **silent) == []
    assert "checkbox" not in page(php, LOGGED_IN + "do_action('woocommerce_register_form');", **silent)


#: WooCommerce's two steps of one attempt to pay (WC_Checkout::process_checkout): the customer is saved, then the order.
ATTEMPTS = (
    LOGGED_IN
    + """
$GLOBALS['user_meta'][7] = $given['known'];
$order = new WC_Order(7);
foreach ($given['attempts'] as $post) {
    $_POST = $post;
    $customer = new WC_Customer(7);
    do_action('woocommerce_checkout_update_customer', $customer, array());
    $customer->save();
    do_action('woocommerce_checkout_create_order', $order, array());
}
echo json_encode(array('order' => (object) $order->meta, 'customer' => (object) $GLOBALS['user_meta'][7]));
"""
)
SHOWN = {"engage_consent_email_shown": "1"}
TICKED = {**SHOWN, "engage_consent_email": "1"}


def test_a_tick_removed_before_a_second_payment_attempt_is_not_an_opt_in(php: str) -> None:
    guest = CHECKOUT.removesuffix("echo json_encode($order->meta);") + (
        "$_POST = array(); do_action('woocommerce_checkout_create_order', $order); echo json_encode($order->meta);"
    )
    assert run(php, guest, customer=0, **SETTINGS) == []
    known = run(php, ATTEMPTS, known={}, attempts=[TICKED, TICKED], **SETTINGS)
    assert known["customer"]["engage_consent_email"] == "yes"
    taken = run(php, ATTEMPTS, known={}, attempts=[TICKED, SHOWN], **SETTINGS)
    assert taken["order"] == {}
    # the shop sent the customer's opt-in when it saved the customer: only a later opt-out revokes it
    assert taken["customer"]["engage_consent_email"] == "no"


@pytest.mark.parametrize(
    ("known", "post"),
    [
        ({}, {}),
        ({}, SHOWN),
        ({"engage_consent_email": "yes", "engage_consent_email_source": "checkout"}, {}),  # no box: answered earlier
        (
            {"engage_consent_email": "yes", "engage_consent_email_source": "account"},
            SHOWN,
        ),  # answered elsewhere in the meantime
    ],
)
def test_an_unchanged_box_at_the_checkout_is_not_an_opt_out(
    php: str, known: dict[str, str], post: dict[str, str]
) -> None:
    assert run(php, ATTEMPTS, known=known, attempts=[post], **SETTINGS) == {"order": {}, "customer": known}


def test_the_block_checkout_stores_the_last_state_of_its_box_on_the_order(php: str) -> None:
    code = LOGGED_IN + (
        "$order = new WC_Order(); $customer = new WC_Customer(7); foreach ($given['ticks'] as $tick) {"
        "  foreach (array($order, $customer) as $holder) {"
        "    do_action('woocommerce_set_additional_field_value', 'engage-crm/consent-email', $tick, 'other', $holder);"
        "} } echo json_encode(array('order' => array_keys($order->meta), 'customer' => $customer->meta));"
    )
    keys = ["engage_consent_email", "engage_consent_email_at", "engage_consent_email_source"]
    assert run(php, code, ticks=[True], **SETTINGS) == {"order": keys, "customer": []}
    assert run(php, code, ticks=[True, False], **SETTINGS) == {"order": [], "customer": []}
    assert run(php, code, ticks=[True, False, True], **SETTINGS)["order"] == keys


def test_the_form_has_a_hidden_field_for_each_box_shown(php: str) -> None:
    before = "do_action('woocommerce_checkout_before_terms_and_conditions');"
    shown = page(php, LOGGED_IN + before, **SETTINGS)
    assert '<input type="hidden" name="engage_consent_email_shown" value="1">' in shown
    assert "engage_consent_sms" not in shown


ACCOUNT = LOGGED_IN + (
    "$GLOBALS['user_meta'][7] = array('engage_consent_email' => 'yes', 'engage_consent_email_at' => 'then');"
    "$_POST = $given['post']; do_action('woocommerce_save_account_details', 7); echo json_encode($GLOBALS['user_meta'][7]);"
)


def test_removing_the_tick_in_the_account_is_an_opt_out(php: str) -> None:
    sent = {"engage_crm_consent_nonce": "nonce of engage_crm_consent"}
    assert run(php, ACCOUNT, post=sent, **SETTINGS)["engage_consent_email"] == "no"
    assert (
        run(php, ACCOUNT, post={**sent, "engage_consent_email": "1"}, **SETTINGS)["engage_consent_email_at"] == "then"
    )


@pytest.mark.parametrize("post", [{}, {"engage_crm_consent_nonce": "forged"}])
def test_a_form_without_our_nonce_changes_no_consent(php: str, post: dict[str, str]) -> None:
    assert run(php, ACCOUNT, post=post, **SETTINGS)["engage_consent_email"] == "yes"


def test_the_account_shows_the_current_consent_and_the_checkout_asks_once(php: str) -> None:
    known = "$GLOBALS['user_meta'][7] = array('engage_consent_email' => 'yes');"
    assert " checked" in page(php, LOGGED_IN + known + "do_action('woocommerce_edit_account_form');", **SETTINGS)
    before = "do_action('woocommerce_checkout_before_terms_and_conditions');"
    assert "checkbox" not in page(
        php, LOGGED_IN + known + before, **SETTINGS
    )  # a customer who opted in is not asked again
    asked = page(php, LOGGED_IN + before, **SETTINGS)
    assert "Nyheter &amp; &lt;i&gt;erbjudanden" in asked
    assert " checked" not in asked


# --- orders ---

REFUNDS = (
    LOGGED_IN
    + """
class Date { function getTimestamp() { return 1795412468; } }
class Item extends Meta_Holder {
    function get_quantity() { return -1; } function get_total() { return -143.64; } function get_total_tax() { return -35.91; }
}
class Refund extends Meta_Holder {
    function get_date_created() { return new Date(); } function get_amount() { return '179.55'; }
    function get_items($type) {
        $item = new Item(99);
        $item->meta['_refunded_item_id'] = '10';
        return $type === 'line_item' ? array($item) : array();
    }
}
class Order extends Meta_Holder { function get_refunds() { return array(new Refund(17)); } }
class Hook { function get_delivery_url() { return $GLOBALS['given']['address']; } }
function wc_get_order($id) { return new Order($id); }
function wc_get_webhook($id) { return new Hook(); }
$payload = array('id' => 16, 'refunds' => array(array('id' => 17, 'total' => '-179.55')));
echo json_encode(apply_filters('woocommerce_webhook_payload', $payload, 'order', 16, 5));
"""
)


def test_refund_lines_added_to_the_body_are_mapped(php: str) -> None:
    result = run(php, REFUNDS, address="https://plugin.example/webhooks/woocommerce/butik", **SETTINGS)
    order = json.loads((FIXTURES / "order-updated-2-refunded.json").read_bytes()) | {
        "engage_refunds": result["engage_refunds"]
    }
    raw = json.dumps(order).encode()
    assert WOOCOMMERCE.refunds_without_lines(Delivery("order.updated"), raw) == ()
    _, refund = WOOCOMMERCE.normalise(Delivery("order.updated"), raw, datetime.now(UTC)).events
    assert isinstance(refund, OrderRefunded)
    assert [(line.line_id, str(line.gross_paid)) for line in refund.lines] == [("10", "179.55")]


def test_bodies_for_other_receivers_are_unchanged(php: str) -> None:
    assert "engage_refunds" not in run(php, REFUNDS, address="https://other.example/hook", **SETTINGS)


COUPON_USED = (
    "$coupon = new Meta_Holder(); $coupon->meta = $given; $order = new WC_Order(); $item = new Meta_Holder();"
    "do_action('woocommerce_checkout_create_order_coupon_item', $item, 'x', $coupon, $order);"
    "echo json_encode(array('line' => (object) $item->meta, 'order' => (object) $order->meta));"
)
CARRIED = {"engage_promotion_assignment_id": "A-1", "engage_voucher_number": "V-2"}


def test_engage_ids_of_a_coupon_are_on_its_line_and_vanish_with_it(php: str) -> None:
    result = run(php, COUPON_USED, **CARRIED, other="x")
    assert result == {"line": CARRIED, "order": {}}
    assert run(php, COUPON_USED, other="x")["line"] == {}
    meta = [{"id": 1, "key": key, "value": value} for key, value in result["line"].items()]
    order = json.loads((FIXTURES / "order-updated-1-paid.json").read_bytes())
    order["coupon_lines"] = [{**order["coupon_lines"][0], "meta_data": meta}]
    (event,) = WOOCOMMERCE.normalise(Delivery("order.updated"), json.dumps(order).encode(), datetime.now(UTC)).events
    assert isinstance(event, OrderPaid)
    assert event.promotions == (UsedPromotion(assignment_id="A-1"), UsedPromotion(code="welcome10"))
    assert event.vouchers == (UsedVoucher(voucher_number="V-2"),)
    # the order reused for the next attempt has only the lines of what is in the basket then
    order |= {"coupon_lines": [], "meta_data": [{"id": 1, "key": k, "value": v} for k, v in result["order"].items()]}
    (event,) = WOOCOMMERCE.normalise(Delivery("order.updated"), json.dumps(order).encode(), datetime.now(UTC)).events
    assert isinstance(event, OrderPaid)
    assert (event.promotions, event.vouchers) == ((), ())


def test_the_companion_command_writes_a_zip_that_wordpress_installs(tmp_path: Path) -> None:
    path = tmp_path / "engage-crm.zip"
    done = CliRunner().invoke(main, ["woocommerce", "companion", "--out", str(path)])
    assert done.exit_code == 0, done.output
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        names = archive.namelist()
    assert "engage-crm/engage-crm.php" in names
    assert "engage-crm/includes/token.php" in names
    assert all(name.startswith("engage-crm/") for name in names)
