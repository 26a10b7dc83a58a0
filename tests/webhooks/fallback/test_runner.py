"""Outages of Engage: which events go into files, which wait, and how each ends once Engage answers again."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from support.bodies import PROMOTION, customer, order, promotion, refund
from support.outage import RECEIPTS_FOLDER, Files, files_of

from plugin.event_kinds import EventKind
from plugin.platforms.internal_events import PROFILE_EDITED, ProfileEdit, encode_edit
from plugin.store.inbox.inbox import NewEvent
from plugin.store.inbox.keys import customer_key
from plugin.store.tables.files import FileState
from webhooks.orders.receipts import purchase_receipt

ADA = customer()
GRACE = customer(id="1002", email="grace@example.com", phone="070-765 43 21", first_name="Grace")


@pytest.fixture
def files(rig: Any, tmp_path: Path) -> Files:
    """Return a fallback for a shop whose customers Ada and Grace are known."""
    for person in (ADA, GRACE):
        rig.send("customer.created", customer=person)
    assert rig.work() == ["delivered"] * 2
    return files_of(rig, rig.standard, tmp_path)


@pytest.fixture(autouse=True)
def every_event_is_in_one_state(rig: Any) -> Any:
    yield
    counts = rig.desk.status()
    assert counts.pop("accepted") == sum(counts.values())


def away(rig: Any, files: Files) -> None:
    """Let an outage of Engage begin and last long enough for files."""
    files.outages.begin()
    rig.fault(error_rate=1.0)
    rig.clock.forward(1900)


def back(rig: Any, files: Files) -> None:
    rig.no_faults()
    files.outages.end()


def import_files(rig: Any, files: Files, folder: str = RECEIPTS_FOLDER) -> dict[str, int]:
    return files.server.take(rig.sandbox.state, rig.clock(), folder)


def given_a_promotion(rig: Any) -> str:
    """Give Ada a promotion and return the assignment's id."""
    rig.seed(promotions=[promotion()])
    contact_id = rig.contacts()["ada@example.com"]["id"]
    return str(rig.seed(assignments=[{"contactId": contact_id, "promotionId": PROMOTION}])["assignments"][0])


def states(rig: Any, *events: int) -> list[str]:
    return [rig.event(event).state for event in events]


def test_receipts_of_known_contacts_go_into_files_and_are_delivered_once_picked_up(rig: Any, files: Files) -> None:
    away(rig, files)
    events = [rig.send("order.paid", order=order("1")), rig.send("order.paid", order=order("2", customer=GRACE))]
    events.append(rig.send("order.refunded", refund=refund("1")))
    files.fallback.run()
    (file,) = files.files()
    assert (file.state, file.rows, file.kind) == (FileState.SENT, 3, "receipts")
    assert files.server.names() == [file.name]
    assert states(rig, *events) == ["spooled"] * 3
    rig.clock.forward(60)
    files.fallback.run()
    assert states(rig, *events) == ["spooled"] * 3
    assert import_files(rig, files) == {"imported": 3, "rows": 3, "files": 1}
    rig.clock.forward(60)
    files.fallback.run()
    assert files.files()[0].state is FileState.PICKED_UP
    assert states(rig, *events) == ["delivered"] * 3
    back(rig, files)
    files.fallback.run()
    rig.work()
    receipts = rig.receipts()
    assert set(receipts) == {"web-se-1", "web-se-2", "web-se-1-RR1"}
    assert {receipt["times_received"] for receipt in receipts.values()} == {1}
    assert receipts["web-se-1"]["totalGrossPrice"] == 299
    assert receipts["web-se-1-RR1"]["items"][0]["quantity"] == -1
    assert rig.steps(events[0]) == ["received", "spooled", "delivered"]


def test_a_file_holds_the_same_data_as_the_api_request(rig: Any, files: Files) -> None:
    rig.send("order.paid", order=order("1"))
    rig.work()
    away(rig, files)
    rig.send("order.paid", order=order("2"))
    files.fallback.run()
    import_files(rig, files)
    by_api, by_file = rig.receipts()["web-se-1"], rig.receipts()["web-se-2"]
    for name in ("uniqueReceiptId", "receiptNumber", "createdDate", "receivedOn"):
        by_api.pop(name), by_file.pop(name)
    assert by_file == by_api


def test_nothing_is_written_too_early_or_without_redis_or_for_a_shop_without_fallback(rig: Any, files: Files) -> None:
    files.outages.begin()
    event = rig.send("order.paid", order=order("1"))
    files.fallback.run()
    rig.clock.forward(1799)
    files.fallback.run()
    rig.clock.forward(10)
    files.outages.unknown = True
    files.fallback.run()
    files.outages.unknown = False
    rig.stores.shops.change("web-se", {"fallback": "no"})
    files.fallback.run()
    assert files.files() == []
    assert states(rig, event) == ["pending"]
    rig.stores.shops.change("web-se", {"fallback": "yes"})
    files.fallback.run()
    assert states(rig, event) == ["spooled"]


def test_events_of_unknown_customers_wait_for_the_api(rig: Any, files: Files) -> None:
    stranger = customer(id="77", email="new@example.com", phone=None)
    away(rig, files)
    signup = rig.send("customer.created", customer=stranger)
    bought = rig.send("order.paid", order=order("1", customer=stranger))
    guest = rig.send("order.paid", order=order("2", customer={"email": "guest@example.com"}))
    given_back = rig.send("order.refunded", refund=refund("1"))
    files.fallback.run()
    assert files.files() == []
    assert states(rig, signup, bought, guest, given_back) == ["pending"] * 4
    back(rig, files)
    files.fallback.run()
    rig.work_for(120)
    assert set(rig.receipts()) == {"web-se-1", "web-se-1-RR1", "web-se-2"}
    assert states(rig, signup, bought, guest, given_back) == ["delivered"] * 4


def test_an_earlier_signup_holds_back_a_receipt_but_a_profile_change_does_not(rig: Any, files: Files) -> None:
    away(rig, files)
    rig.send("customer.created", customer=ADA)
    held = rig.send("order.paid", order=order("1"))
    changed = rig.send("customer.updated", customer={**GRACE, "last_name": "Hopper"})
    goes = rig.send("order.paid", order=order("2", customer=GRACE))
    files.fallback.run()
    assert states(rig, held, changed, goes) == ["pending", "pending", "spooled"]


def test_an_earlier_edit_on_my_pages_does_not_hold_back_a_receipt(rig: Any, files: Files) -> None:
    away(rig, files)
    edit = ProfileEdit("1001", {"firstName": "Adele"}, {})
    edited = rig.stores.inbox.accept(
        NewEvent(
            shop_id=rig.standard.id,
            platform="standard",
            topic=PROFILE_EDITED,
            kind=EventKind.PROFILE_EDIT,
            dedupe_key="my-pages:1",
            ordering_key=customer_key("1001"),
            occurred_at=rig.clock(),
            received_at=rig.clock(),
            body=encode_edit(edit, rig.clock()),
        )
    ).event_id
    rig.clock.forward(5)
    paid = rig.send("order.paid", order=order("1"))
    files.fallback.run()
    assert states(rig, edited, paid) == ["pending", "spooled"]
    back(rig, files)
    import_files(rig, files)
    rig.clock.forward(100)
    files.fallback.run()
    rig.work_for(60)
    assert states(rig, edited, paid) == ["delivered"] * 2
    assert rig.contacts()["ada@example.com"]["attributes"]["firstName"] == "Adele"


def test_an_order_bought_and_returned_by_file_leaves_no_voucher_redeemed(rig: Any, files: Files) -> None:
    contact_id = rig.contacts()["ada@example.com"]["id"]
    voucher = {"contactId": contact_id, "voucherNumber": "V-1", "value": {"amount": 50, "currency": "SEK"}}
    rig.seed(vouchers=[voucher])
    away(rig, files)
    paid = rig.send("order.paid", order=order("1", vouchers=[{"number": "V-1"}]))
    rig.clock.forward(3700)
    files.fallback.run()  # only Engage knows which voucher this is
    assert states(rig, paid) == ["spooled"]
    given_back = rig.send("order.refunded", refund=refund("1"))
    files.fallback.run()
    assert states(rig, given_back) == ["spooled"]
    import_files(rig, files)
    rig.clock.forward(100)
    files.fallback.run()
    assert states(rig, given_back) == ["spooled"]  # the reactivation is left to the API
    back(rig, files)
    files.fallback.run()
    rig.work_for(600)
    assert states(rig, paid, given_back) == ["delivered"] * 2
    assert [r["outcome"] for r in rig.redemptions()] in ([], ["Redeemed", "Reactivated"])
    assert {r["times_received"] for r in rig.receipts().values()} == {1}


def test_an_unsent_file_is_recalled_and_its_events_go_by_the_api_only(rig: Any, files: Files) -> None:
    files.server.away = True
    away(rig, files)
    event = rig.send("order.paid", order=order("1"))
    files.fallback.run()
    (file,) = files.files(FileState.WRITTEN)
    assert "cannot be reached" in file.reason
    assert (files.folder / file.name).stat().st_mode & 0o777 == 0o600
    assert files.folder.stat().st_mode & 0o777 == 0o700
    back(rig, files)
    files.server.away = False
    files.fallback.run()
    assert files.files()[0].state is FileState.RECALLED
    assert not (files.folder / file.name).exists()
    assert states(rig, event) == ["pending"]
    assert rig.work() == ["delivered"]
    assert files.server.names() == []
    assert rig.receipts()["web-se-1"]["times_received"] == 1


def test_a_sent_file_is_not_recalled_and_the_refund_waits_for_it(rig: Any, files: Files) -> None:
    away(rig, files)
    paid = rig.send("order.paid", order=order("1"))
    files.fallback.run()
    back(rig, files)
    files.fallback.run()
    again = rig.send("order.paid", order=order("1"))
    given_back = rig.send("order.refunded", refund=refund("1"))
    rig.work()
    assert states(rig, paid, again, given_back) == ["spooled", "pending", "pending"]
    assert rig.receipts() == {}
    import_files(rig, files)
    rig.clock.forward(3 * 3600)  # longer than a refund waits for an unknown order
    files.fallback.run()
    rig.work_for(600)
    assert states(rig, paid, again, given_back) == ["delivered"] * 3
    assert {r["times_received"] for r in rig.receipts().values()} == {1}
    assert set(rig.receipts()) == {"web-se-1", "web-se-1-RR1"}


def test_a_refund_written_later_goes_into_a_later_file(rig: Any, files: Files) -> None:
    away(rig, files)
    rig.send("order.paid", order=order("1"))
    files.fallback.run()
    rig.clock.forward(60)
    rig.send("order.refunded", refund=refund("1"))
    files.fallback.run()
    assert [file.rows for file in files.files(FileState.SENT)] == [1, 1]
    names = files.server.names()
    assert "web-se-1-RR1" not in (files.server.base / RECEIPTS_FOLDER / names[0]).read_text()
    assert "web-se-1-RR1" in (files.server.base / RECEIPTS_FOLDER / names[1]).read_text()


def test_an_order_with_a_promotion_waits_then_goes_by_file_and_is_redeemed_once_by_the_api(
    rig: Any, files: Files
) -> None:
    contact_id = rig.contacts()["ada@example.com"]["id"]
    assignment = rig.seed(promotions=[promotion()], assignments=[{"contactId": contact_id, "promotionId": PROMOTION}])[
        "assignments"
    ][0]
    away(rig, files)
    event = rig.send("order.paid", order=order("1", promotions=[{"assignment_id": assignment}]))
    files.fallback.run()
    assert states(rig, event) == ["pending"]
    rig.clock.forward(3700)
    files.fallback.run()
    assert states(rig, event) == ["spooled"]
    kinds = {file.kind: file.state for file in files.files()}
    assert kinds == {"receipts": FileState.SENT, "redemptions": FileState.WRITTEN}
    import_files(rig, files)
    rig.clock.forward(100)
    files.fallback.run()
    assert states(rig, event) == ["spooled"]  # its redemption is not confirmed
    back(rig, files)
    files.fallback.run()
    assert rig.work() == ["delivered"]
    assert [r["outcome"] for r in rig.redemptions()] == ["Redeemed"]
    assert rig.receipts()["web-se-1"]["times_received"] == 1
    assert "usedPromotions" not in rig.receipts()["web-se-1"]


@pytest.mark.parametrize("imported", [True, False])
def test_a_redemption_in_a_file_is_confirmed_by_the_api_and_not_repeated(
    rig: Any, tmp_path: Path, files: Files, imported: bool
) -> None:
    files = files_of(rig, rig.standard, tmp_path, fallback_redemptions_folder="integration/redemptions")
    contact_id = rig.contacts()["ada@example.com"]["id"]
    assignment = rig.seed(promotions=[promotion()], assignments=[{"contactId": contact_id, "promotionId": PROMOTION}])[
        "assignments"
    ][0]
    away(rig, files)
    event = rig.send("order.paid", order=order("1", promotions=[{"assignment_id": assignment}]))
    rig.clock.forward(3700)
    files.fallback.run()
    if imported:
        assert import_files(rig, files, "integration/redemptions")["redeemed"] == 1
    back(rig, files)
    files.fallback.run()
    rig.work()
    assert states(rig, event) == ["spooled"]  # redeemed, and its receipt is in a file that was not picked up yet
    assert [r["outcome"] for r in rig.redemptions()] == ["Redeemed"]
    import_files(rig, files)
    rig.clock.forward(100)
    files.fallback.run()
    assert states(rig, event) == ["delivered"]
    assert rig.receipts()["web-se-1"]["times_received"] == 1


def test_contact_data_of_an_order_goes_by_the_api_once_engage_answers(rig: Any, files: Files) -> None:
    away(rig, files)
    event = rig.send("order.paid", order=order("1", consents=[{"channel": "email", "value": True}]))
    files.fallback.run()
    import_files(rig, files)
    rig.clock.forward(100)
    files.fallback.run()
    assert states(rig, event) == ["spooled"]
    back(rig, files)
    files.fallback.run()
    assert rig.work() == ["delivered"]
    assert rig.contacts()["ada@example.com"]["preferences"]["acceptsEmail"] is True
    assert rig.receipts()["web-se-1"]["times_received"] == 1


@pytest.mark.parametrize("imported", [True, False])
def test_profile_changes_go_into_a_file_by_setting_and_are_confirmed_by_the_api(
    rig: Any, tmp_path: Path, files: Files, imported: bool
) -> None:
    folder = "integration/contactImport"
    files = files_of(rig, rig.standard, tmp_path, fallback_contacts="file", fallback_contacts_folder=folder)
    away(rig, files)
    event = rig.send("customer.updated", customer={**ADA, "last_name": "Byron"})
    files.fallback.run()
    assert states(rig, event) == ["spooled"]
    if imported:
        assert import_files(rig, files, folder)["changed"] == 1
    rig.clock.forward(100)
    files.fallback.run()
    assert states(rig, event) == ["spooled"]
    back(rig, files)
    files.fallback.run()
    before = len(rig.calls())
    assert rig.work() == ["delivered"]
    assert rig.contacts()["ada@example.com"]["attributes"]["lastName"] == "Byron"
    assert rig.calls()[before:] == (["getContact"] if imported else ["getContact", "updateContact"])


def test_a_transfer_with_unknown_result_goes_by_the_api_as_well(rig: Any, files: Files) -> None:
    files.server.answer_lost = True
    away(rig, files)
    event = rig.send("order.paid", order=order("1"))
    files.fallback.run()
    assert files.files()[0].state is FileState.RENAMING
    back(rig, files)
    files.fallback.run()  # the server is still away
    (file,) = files.files()
    assert file.state is FileState.RECALLED
    assert "unknown" in file.reason
    assert rig.work() == ["delivered"]
    assert import_files(rig, files)["known receipt"] == 1
    assert states(rig, event) == ["delivered"]


def test_a_connection_cut_off_after_the_rename_is_resolved_later(rig: Any, files: Files) -> None:
    files.server.answer_lost = True
    away(rig, files)
    event = rig.send("order.paid", order=order("1"))
    files.fallback.run()
    files.server.away = files.server.answer_lost = False
    import_files(rig, files)
    rig.clock.forward(100)
    files.fallback.run()
    assert files.files()[0].state is FileState.PICKED_UP
    assert files.server.sent == 1
    assert states(rig, event) == ["delivered"]


def test_an_event_with_wrong_sums_waits_for_the_api(rig: Any, files: Files) -> None:
    away(rig, files)
    wrong_sum = rig.send("order.paid", order=order("1", total="1.00"))
    files.fallback.run()
    assert files.files() == []
    assert states(rig, wrong_sum) == ["pending"]


def test_an_unexpected_error_with_one_event_does_not_hold_back_others(
    rig: Any, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    away(rig, files)
    events = [rig.send("order.paid", order=order("1")), rig.send("order.paid", order=order("2", customer=GRACE))]
    monkeypatch.setattr("webhooks.fallback.contents.purchase_receipt", failing_once(purchase_receipt))
    files.fallback.run()
    assert sorted(states(rig, *events)) == ["pending", "spooled"]
    rig.clock.forward(700)
    files.fallback.run()
    assert states(rig, *events) == ["spooled"] * 2


def failing_once(work: Any) -> Any:
    """Return a function that fails unexpectedly the first time, then does its work."""
    calls = itertools.count()

    def faulty(*args: Any) -> Any:
        if next(calls) == 0:
            raise ZeroDivisionError
        return work(*args)

    return faulty


def test_an_error_with_one_shop_does_not_hold_up_other_shops(rig: Any, files: Files) -> None:
    away(rig, files)
    paid = rig.send("order.paid", order=order("1"))
    folder_for = files.fallback.folder_for

    def unreadable(shop: Any) -> Path:
        if shop.name == "kiosk":
            raise PermissionError("kiosk")
        return folder_for(shop)

    names = [shop.name for shop in rig.stores.shops.all()]
    assert names.index("kiosk") < names.index("web-se")
    files.fallback.folder_for = unreadable
    files.fallback.run()
    assert states(rig, paid) == ["spooled"]


def test_files_are_sent_in_order_and_a_rejected_rename_stops_later_ones(rig: Any, files: Files) -> None:
    files.server.refuse_rename = True
    away(rig, files)
    rig.send("order.paid", order=order("1"))
    files.fallback.run()
    rig.send("order.paid", order=order("2"))
    files.fallback.run()
    assert [file.state for file in files.files()] == [FileState.RENAMING, FileState.WRITTEN]
    files.server.refuse_rename = False
    rig.clock.forward(60)
    files.fallback.run()
    assert [file.state for file in files.files()] == [FileState.SENT] * 2
    assert len(files.server.names()) == 2


def test_an_erased_person_is_removed_from_unsent_files(rig: Any, files: Files) -> None:
    files.server.away = True
    away(rig, files)
    hers, others = rig.send("order.paid", order=order("1")), rig.send("order.paid", order=order("2", customer=GRACE))
    files.fallback.run()
    assert "web-se-1<" in files.contents()
    rig.clock.forward(1)
    rig.send("customer.deleted", customer={"id": "1001"})
    rig.work()
    files.server.away = False
    rig.clock.forward(60)
    files.fallback.run()
    assert "web-se-1<" not in files.contents()
    assert states(rig, hers, others) == ["discarded", "spooled"]
    assert import_files(rig, files)["imported"] == 1
    assert set(rig.receipts()) == {"web-se-2"}


def test_an_erased_shop_has_no_files_left(rig: Any, files: Files) -> None:
    files.server.away = True
    away(rig, files)
    event = rig.send("order.paid", order=order("1"))
    files.fallback.run()
    assert files.contents()
    while rig.stores.shop_erasures.erase_some(rig.standard.id, rig.clock()):
        pass
    files.fallback.run()
    assert not files.contents()
    assert states(rig, event) == ["discarded"]


def test_local_copies_are_deleted_after_their_retention(rig: Any, files: Files) -> None:
    away(rig, files)
    rig.send("order.paid", order=order("1"))
    files.fallback.run()
    import_files(rig, files)
    rig.clock.forward(100)
    files.fallback.run()
    assert files.contents()
    rig.clock.forward(8 * 86400)
    files.fallback.run()
    assert not files.contents()
    assert files.files()[0].deleted_at is not None


def test_the_fallback_probes_engage_while_all_events_are_in_files(rig: Any, files: Files) -> None:
    away(rig, files)
    files.fallback.run()
    assert files.outages.probes == 0
    rig.send("order.paid", order=order("1"))
    files.fallback.run()
    assert files.outages.probes == 1
