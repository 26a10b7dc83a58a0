"""The traps of the platforms (docs/platforms/common.md#list-of-traps), and the tests that catch each of them."""

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SIGNATURES, SHOPIFY, SALEOR = (
    "platforms/test_signatures.py",
    "platforms/shopify/test_mapping.py",
    "platforms/saleor/test_mapping.py",
)
WOO, WOO_STORY = "platforms/woocommerce/test_mapping.py", "webhooks/platforms/test_woocommerce_orders.py"
SHOPIFY_STORY, SALEOR_STORY, RECEIVE = (
    "webhooks/platforms/test_shopify_orders.py",
    "webhooks/platforms/test_saleor_orders.py",
    "webhooks/receiving/test_endpoint.py",
)
WOO_API, WATCH, SHOP_END = (
    "platforms/woocommerce/test_api.py",
    "webhooks/sync/test_monitor.py",
    "webhooks/handlers/test_shop_erasure.py",
)
PROXY, SALEOR_INSTALL = "platforms/shopify/test_identity.py", "platforms/saleor/test_install.py"

#: Number in docs/platforms/common.md#list-of-traps, what the trap is, and the tests: file and name.
TRAPS: dict[int, tuple[str, tuple[tuple[str, str], ...]]] = {
    1: (
        "a body that is serialised again before its HMAC is checked",
        (
            (SIGNATURES, "test_a_reserialised_body_is_refused"),
            (SIGNATURES, "test_a_body_that_changed_by_one_byte_is_refused"),
            (SIGNATURES, "test_any_bytes_can_be_signed"),
        ),
    ),
    2: (
        "hex, base64 and JWS taken for one another",
        (
            (SIGNATURES, "test_a_hex_digest_is_not_base64"),
            (SIGNATURES, "test_upper_case_hex_is_refused"),
            ("platforms/saleor/test_signature.py", "test_anything_but_a_detached_signature_of_the_shop_is_refused"),
        ),
    ),
    3: (
        "WooCommerce's ping: a form, unsigned, that wants a 200",
        (
            (WOO_STORY, "test_the_unsigned_ping_is_answered_200_and_not_stored"),
            (SIGNATURES, "test_only_the_ping_is_a_ping"),
        ),
    ),
    4: (
        "WooCommerce signs an error body without an id",
        (
            (WOO, "test_a_signed_error_body_for_a_deleted_resource_is_ignored"),
            (WOO, "test_a_signed_error_body_about_permissions_is_refused_with_its_cause"),
            (WOO_STORY, "test_a_permission_error_of_the_shop_is_parked"),
        ),
    ),
    5: (
        "WooCommerce's delivery ids are shared by different deliveries",
        ((WOO_STORY, "test_two_deliveries_with_one_id_are_two_events_and_a_repeated_body_is_one"),),
    ),
    6: (
        "an order.created that is completed or refunded already",
        (
            (WOO, "test_an_order_created_body_that_is_already_refunded_is_a_purchase_and_a_refund"),
            (WOO_STORY, "test_an_order_first_received_after_its_refunds_is_sent_with_its_returns"),
        ),
    ),
    7: (
        "Shopify's consent stands in its own topics alone, and pending is none",
        (
            (SHOPIFY, "test_only_an_answer_of_the_shopper_is_a_consent"),
            (SHOPIFY_STORY, "test_a_consent_is_read_from_its_own_topic_only"),
        ),
    ),
    8: (
        "a Shopify guest: no customer and an empty e-mail",
        (
            (SHOPIFY, "test_a_guest_without_contact_details_is_mapped_without_a_customer"),
            (SHOPIFY_STORY, "test_an_order_without_a_customer_is_ignored_with_the_reason"),
        ),
    ),
    9: (
        "the shopper's currency and the shop's; refunds are in the shopper's",
        (
            (SHOPIFY, "test_an_order_is_in_the_currency_the_shopper_paid_in"),
            (SHOPIFY, "test_a_refund_is_in_the_shoppers_currency"),
            ("webhooks/orders/test_receipts.py", "test_the_exchange_rate_is_the_orders_own_or_left_out"),
        ),
    ),
    10: (
        "tax in the prices or on top; WooCommerce's lines are always net",
        (
            (SHOPIFY, "test_tax_on_top_of_prices_is_added_to_the_lines"),
            (WOO, "test_lines_are_net_whether_or_not_prices_include_tax"),
            (SALEOR, "test_prices_shown_without_tax_are_mapped_with_tax"),
        ),
    ),
    11: (
        "a discount of the whole order stands in the allocations of its lines alone",
        (
            (SHOPIFY, "test_lines_of_an_order_with_an_order_wide_discount_add_up"),
            (SALEOR, "test_an_order_discount_without_lines_is_spread_exactly"),
            ("platforms/test_properties.py", "test_shopify_orders_add_up_in_every_currency"),
        ),
    ),
    12: (
        "an order is said to be paid more than once",
        (
            (SHOPIFY_STORY, "test_an_order_paid_twice_before_its_customer_is_known_is_sent_once"),
            (WOO, "test_an_order_that_was_paid_is_a_purchase_in_every_later_status"),
            (SALEOR_STORY, "test_signup_order_and_refunds_reach_engage_once_each"),
            (
                "webhooks/orders/test_receipts.py",
                "test_an_order_is_sent_once_however_often_it_is_reported_paid",
            ),
        ),
    ),
    13: (
        "paid before created, consent before customer, an old retry after a newer change",
        (
            (
                "webhooks/orders/test_receipts.py",
                "test_an_order_before_its_signup_creates_the_contact_that_the_signup_finds",
            ),
            ("webhooks/handlers/test_contacts.py", "test_a_consent_that_comes_before_its_signup_waits_for_it"),
            (SHOPIFY_STORY, "test_an_old_retry_does_not_undo_a_newer_change"),
            (SALEOR_STORY, "test_events_in_the_wrong_order_end_the_same_way"),
        ),
    ),
    14: (
        "Saleor: with and without a wrapper, lower-case events, no SKU, no delivery id",
        (
            (SALEOR, "test_a_body_is_read_with_and_without_its_data_wrapper"),
            (SALEOR, "test_peek_reads_each_captured_body_and_its_topic_is_declared"),
            ("platforms/saleor/test_signature.py", "test_headers_are_read_with_and_without_the_x_prefix_in_any_case"),
            (SALEOR_STORY, "test_a_return_names_the_articles_as_the_purchase_did"),
            (SALEOR_STORY, "test_the_receiver_answers_each_kind_of_request"),
        ),
    ),
    15: (
        "our 4xx loses an event at Saleor, any error of ours loses it at WooCommerce",
        (
            (SALEOR_STORY, "test_a_webhook_is_answered_503_while_the_keys_cannot_be_fetched"),
            (RECEIVE, "test_a_signed_unreadable_body_is_stored"),
            (RECEIVE, "test_a_webhook_that_cannot_be_stored_is_answered_503_and_leaves_nothing"),
            (WATCH, "test_an_order_without_a_webhook_is_fetched_once"),
            (WATCH, "test_a_disabled_webhook_is_enabled_again"),
        ),
    ),
    16: (
        "times: an offset (Shopify), none at all (WooCommerce), +00:00 (Saleor)",
        (
            (SHOPIFY, "test_the_time_of_payment_is_the_webhooks_trigger_time"),
            (WOO, "test_a_time_without_an_offset_is_utc"),
            (SALEOR, "test_the_last_charge_is_the_payment_time_where_the_event_has_none"),
            ("platforms/test_every_platform.py", "test_a_sample_becomes_an_event_of_its_topics_kind"),
        ),
    ),
    17: (
        "money as a binary fraction",
        (
            (WOO, "test_the_float_price_is_not_read"),
            (SALEOR, "test_money_as_a_json_number_is_rounded_to_the_minor_unit"),
            ("platforms/standard/test_mapping.py", "test_amounts_as_numbers_are_exact"),
        ),
    ),
    18: (
        "phones in any form",
        (
            (SHOPIFY, "test_phones_become_e164_with_the_country_of_the_address"),
            (WOO, "test_phone_numbers_are_read_with_the_country_of_the_address"),
            (SALEOR, "test_an_invalid_phone_or_e_mail_is_left_out_with_a_note"),
        ),
    ),
    19: (
        "Shopify's app proxy: repeated keys, a doubled shop, nobody's id, old timestamps, percent-encoding",
        (
            (PROXY, "test_repeated_keys_are_joined_and_values_percent_decoded"),
            (PROXY, "test_a_repeated_platform_parameter_is_refused"),
            (PROXY, "test_a_proxy_request_with_an_empty_customer_id_names_no_customer"),
            (PROXY, "test_a_forged_stale_or_foreign_request_is_refused"),
            (PROXY, "test_a_signature_does_not_hold_for_another_split_of_the_query"),
        ),
    ),
    20: (
        "callbacks of an installation are unsigned",
        (
            ("store/shops/test_installations.py", "test_a_state_works_once"),
            (WOO_API, "test_a_forged_or_expired_authorisation_is_refused"),
            (WOO_API, "test_keys_that_do_not_work_are_not_stored"),
            (SALEOR_INSTALL, "test_an_unregistered_address_is_never_called"),
            (SALEOR_INSTALL, "test_a_token_unknown_to_the_shop_changes_nothing"),
            (
                "platforms/test_http.py",
                "test_a_connection_to_a_private_address_is_closed_before_a_byte_is_sent",
            ),
        ),
    ),
    21: (
        "erasure after the uninstallation, of somebody unknown, without an e-mail",
        (
            (SHOP_END, "test_compliance_requests_work_after_the_uninstallation"),
            (SHOP_END, "test_redacting_an_unknown_customer_succeeds"),
            (SHOP_END, "test_redacting_a_guest_reaches_their_order_by_email_phone_and_number"),
        ),
    ),
    22: (
        "a customer's e-mail changes, two customers become one",
        (
            (SHOPIFY_STORY, "test_a_changed_email_stays_one_contact"),
            (SHOPIFY_STORY, "test_merged_customers_are_one_and_an_unknown_survivor_takes_the_contact_over"),
            (SHOPIFY, "test_a_global_id_is_preferred_to_a_rounded_number"),
            (SALEOR_STORY, "test_a_changed_email_moves_with_the_customer"),
        ),
    ),
}


@cache
def _tests_of(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_trap_is_in_the_list() -> None:
    assert list(TRAPS) == list(range(1, 23))


@pytest.mark.parametrize(("what", "tests"), TRAPS.values(), ids=[f"{number}-{TRAPS[number][0]}" for number in TRAPS])
def test_a_trap_has_its_tests(what: str, tests: tuple[tuple[str, str], ...]) -> None:
    assert tests, what
    for file, name in tests:
        assert name in _tests_of(file), f"{file} has no {name}, which was to watch over: {what}"
