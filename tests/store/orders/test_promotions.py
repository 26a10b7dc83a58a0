"""Promotions created here and stored lists of their recipients."""

from support.helpers import Clock

from plugin.store.database.engine import Database
from plugin.store.orders.promotions import KnownPromotion, Promotions, RowState, StoredRow
from plugin.store.shops.shops import RegisteredShop


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
