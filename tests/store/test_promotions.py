"""Tokens, created promotions, lists and redemptions on both databases."""

from datetime import timedelta

import pytest
from support.helpers import Clock

from plugin.errors import NotFoundHereError
from plugin.store.database.engine import Database
from plugin.store.orders.promotions import KnownPromotion, Promotions, RowState, StoredRow
from plugin.store.orders.redemptions import Redemptions, RedemptionState
from plugin.store.shops.api_tokens import ApiTokens
from plugin.store.shops.handover_tokens import UsedTokens
from plugin.store.shops.shops import RegisteredShop
from plugin.store.shops.vault import Vault


def test_a_token_belongs_to_its_shop_until_it_is_revoked(
    database: Database, vault: Vault, shop: RegisteredShop, clock: Clock
) -> None:
    tokens = ApiTokens(database, vault)
    first, second = tokens.create(shop, clock()), tokens.create(shop, clock())
    assert (tokens.shop_of(first), tokens.shop_of(second)) == ("web-se", "web-se")
    for wrong in ("", "ept", first[:-1], f"{first}x", first.replace("web-se", "other"), first.replace("ept", "apt")):
        assert tokens.shop_of(wrong) is None
    rows = tokens.all_of(shop)
    tokens.revoke(shop, rows[0].id, clock())
    assert (tokens.shop_of(first), tokens.shop_of(second)) == (None, "web-se")
    with pytest.raises(NotFoundHereError):
        tokens.revoke(shop, rows[0].id, clock())


def test_a_stored_assignment_list_is_read_back_with_its_results(
    database: Database, shop: RegisteredShop, clock: Clock
) -> None:
    promotions = Promotions(database)
    for _ in range(2):
        promotions.remember(shop, KnownPromotion("p-1", "RULE-1", "Spring", "PERCENT", "20", clock()))
    assert [known.external_id for known in promotions.all_of(shop)] == ["RULE-1"]
    run = promotions.begin(shop, "p-1", "d" * 32, 2, clock())
    assert promotions.begin(shop, "p-1", "d" * 32, 2, clock()) == run
    assert promotions.begin(shop, "p-2", "d" * 32, 2, clock()) != run
    promotions.write_row(run, StoredRow(1, RowState.TRYING, "c" * 32, had=0))
    promotions.write_row(run, StoredRow(1, RowState.ASSIGNED, "c" * 32, "A-1", 0))
    promotions.write_row(run, StoredRow(2, RowState.REFUSED, reason="why"))
    promotions.finish(run, clock())
    assert promotions.rows_of(run)[1] == StoredRow(1, RowState.ASSIGNED, "c" * 32, "A-1", 0)
    assert promotions.counts(run) == {"assigned": 1, "refused": 1}
    assert promotions.template_of_assignment(shop, "a-1") == "p-1"
    assert promotions.template_of_assignment(shop, "a-2") is None


def test_an_assignment_belongs_to_the_first_order(database: Database, shop: RegisteredShop, clock: Clock) -> None:
    redemptions = Redemptions(database)

    def intend(order_id: str) -> tuple[str, bool]:
        row = redemptions.intend(shop, "voucher", "v-1", None, order_id, 1, clock())
        return row.order_id, row.fresh

    def become(state: RedemptionState) -> None:
        with database.transaction() as session:
            redemptions.write(session, shop, "voucher", "v-1", state=state)

    assert intend("o-1") == ("o-1", True)
    assert intend("o-1") == ("o-1", False)
    assert intend("o-2") == ("o-1", False)
    become(RedemptionState.REDEEMED)
    assert intend("o-2") == ("o-1", False)
    assert set(redemptions.held(shop, "voucher", ["v-1", "v-2"])) == {"v-1"}
    become(RedemptionState.GIVEN_BACK)
    assert redemptions.held(shop, "voucher", ["v-1"]) == {}
    assert intend("o-1") == ("o-1", False)  # the order that gave it back does not take it again
    assert intend("o-2") == ("o-2", True)
    become(RedemptionState.FAILED)
    assert intend("o-1") == ("o-1", True)
    assert redemptions.of_order(shop, "o-2") == []


def test_a_used_token_is_bound_to_its_first_purpose(database: Database, shop: RegisteredShop, clock: Clock) -> None:
    used, until = UsedTokens(database), clock() + timedelta(minutes=2)
    assert used.bind(shop.id, "t-1", "checkout t-1", until)
    assert used.bind(shop.id, "t-1", "checkout t-1", until)
    assert not used.use(shop.id, "t-1", until)
    assert used.use(shop.id, "t-2", until)
    assert not used.bind(shop.id, "t-2", "checkout t-2", until)
