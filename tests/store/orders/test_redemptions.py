"""Redemption intents: an assignment belongs to the first order that means to use it."""

from support.helpers import Clock

from plugin.store.database.engine import Database
from plugin.store.orders.redemptions import Redemptions, RedemptionState
from plugin.store.shops.shops import RegisteredShop


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
