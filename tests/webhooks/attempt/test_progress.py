"""Typed access to the steps of an event. The names and shapes are in databases, so the tests spell them out."""

from typing import Any

import pytest

from webhooks.attempt.progress import (
    VOUCHER,
    ContactMatch,
    Progress,
    RedemptionProblem,
    RedemptionTarget,
    ResolvedRedemptions,
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("receipt", "web-se-9001"),
        ("patched", True),
        ("create_intended", True),
        ("reopened", True),
        ("spooled", True),
        ("filed", True),
        ("supplement", {"R1": "[]"}),
        ("erased", {"inbox_events": 3}),
        ("recorded", True),
        ("breaker_open_s", 1.5),
    ],
)
def test_a_step_is_read_and_written_under_its_stored_name(name: str, value: Any) -> None:
    progress = Progress({})
    assert getattr(progress, name) is None
    setattr(progress, name, value)
    assert progress.steps == {name: value}
    assert getattr(Progress({name: value}), name) == value


def test_a_contact_is_stored_with_its_short_names() -> None:
    progress = Progress({})
    assert Progress({}).contact is None
    progress.contact = ContactMatch("c-1", verified=True, created=False)
    assert progress.steps == {"contact": {"id": "c-1", "verified": True, "created": False}}
    assert progress.contact == ContactMatch("c-1", verified=True, created=False)


def test_resolved_redemptions_are_read_as_they_were_written() -> None:
    resolved = ResolvedRedemptions(
        (RedemptionTarget(VOUCHER, "v-1", None, "50 off", used=True),), (RedemptionProblem("not_held", "No SPRING."),)
    )
    progress = Progress({})
    assert Progress({}).resolved is None
    progress.resolved = resolved
    assert progress.resolved == resolved
    assert progress.steps["redeem"] == {
        "targets": [{"kind": "voucher", "id": "v-1", "promotion_id": None, "label": "50 off", "used": True}],
        "problems": [["not_held", "No SPRING."]],
    }


def test_redemptions_are_stored_by_kind_and_assignment() -> None:
    progress = Progress({})
    progress.set_redeemed(VOUCHER, "v-1")
    progress.set_redemption_filed(VOUCHER, "v-2")
    progress.set_problem(VOUCHER, "v-3", RedemptionProblem("expired", "It expired."))
    assert progress.steps == {
        "redeemed:voucher:v-1": True,
        "filed:voucher:v-2": True,
        "problem:voucher:v-3": ["expired", "It expired."],
    }
    assert [progress.is_redeemed(VOUCHER, voucher) for voucher in ("v-1", "v-2")] == [True, False]
    assert [progress.is_redemption_filed(VOUCHER, voucher) for voucher in ("v-1", "v-2")] == [False, True]
    assert progress.problem(VOUCHER, "v-3") == RedemptionProblem("expired", "It expired.")
    assert progress.problem(VOUCHER, "v-1") is None


def test_parts_of_a_body_store_their_steps_apart() -> None:
    whole = Progress({})
    first, second = whole.part(0), whole.part(1)
    first.receipt, second.receipt = "A", "B"
    assert whole.steps == {"0:receipt": "A", "1:receipt": "B"}
    assert (whole.receipt, first.receipt, second.receipt) == (None, "A", "B")


def test_forgetting_problems_keeps_what_was_redeemed_and_other_parts() -> None:
    whole = Progress({})
    first, second = whole.part(0), whole.part(1)
    for part in (first, second):
        part.resolved = ResolvedRedemptions()
        part.set_problem(VOUCHER, "v-1", RedemptionProblem("expired", "It expired."))
        part.set_redeemed(VOUCHER, "v-2")
    first.forget_problems()
    assert first.resolved is None
    assert first.problem(VOUCHER, "v-1") is None
    assert first.is_redeemed(VOUCHER, "v-2")
    assert second.resolved == ResolvedRedemptions()
    assert second.problem(VOUCHER, "v-1") is not None
