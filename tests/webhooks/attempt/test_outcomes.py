"""Each outcome of a handler, and each error, becomes a state of the event and a short stable word."""

from typing import Any

import pytest
from support.bodies import customer

from plugin.errors import ConfigurationError, PayloadError, PermanentError, ThrottledError, TransientError
from plugin.events import CustomerCreated
from webhooks.attempt.outcomes import DELIVERED, Ignored, InFile, Outcome, Parked, Waiting
from webhooks.processing import processor


def let_the_handler(monkeypatch: pytest.MonkeyPatch, outcome: Outcome | Exception) -> None:
    """Let the handler of signups return an outcome, or raise an error."""

    def handle(_context: Any, _event: Any) -> Outcome:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(processor, "HANDLERS", {CustomerCreated: handle})


@pytest.mark.parametrize(
    ("outcome", "result", "state", "code"),
    [
        (DELIVERED, "delivered", "delivered", None),
        (Ignored("no e-mail"), "ignored", "ignored", "not_for_us"),
        (InFile("In the file a.xml."), "spooled", "spooled", "in_file"),
        (Parked("Several contacts match.", "multiple_matches"), "parked", "parked", "multiple_matches"),
        (Waiting("The order is unknown."), "retry", "pending", "NotYet"),
        (Waiting("The file is not picked up.", for_file=True), "retry", "pending", "WaitsForFile"),
        (PayloadError("not a date", field="birth_day"), "parked", "parked", "payload:birth_day"),
        (PermanentError("refused", status=422, code="Invalid"), "parked", "parked", "Invalid"),
        (ConfigurationError("no store"), "parked", "parked", "configuration"),
        (TransientError("away", status=503), "retry", "pending", "Transient:503"),
        (ThrottledError("no slot", sent=False), "held back", "pending", "HeldBack"),
        (KeyError("ada@example.com"), "retry", "pending", "unexpected:KeyError"),
    ],
)
def test_an_outcome_becomes_a_state_and_a_code(
    rig: Any,
    monkeypatch: pytest.MonkeyPatch,
    outcome: Outcome | Exception,
    result: str,
    state: str,
    code: str | None,
) -> None:
    let_the_handler(monkeypatch, outcome)
    event_id = rig.send("customer.created", customer=customer())
    (claimed,) = rig.processor.claim()
    assert rig.processor.work(claimed) == result
    event = rig.event(event_id)
    assert (event.state, event.error_code) == (state, code)


def test_an_attempt_that_was_held_back_is_not_counted(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = {}
    for name, error in (("throttled", ThrottledError("no slot", sent=False)), ("away", TransientError("away"))):
        let_the_handler(monkeypatch, error)
        event_id = rig.send("customer.created", customer=customer(id=name))
        (claimed,) = rig.processor.claim()
        rig.processor.work(claimed)
        attempts[name] = rig.event(event_id).attempts
    assert attempts == {"throttled": 0, "away": 1}


def test_an_event_that_waits_for_its_order_is_parked_when_the_wait_is_over(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_the_handler(monkeypatch, Waiting("The order is unknown."))
    event_id = rig.send("customer.created", customer=customer())
    rig.work()
    wait_s = rig.standard.settings.order_wait_s
    rig.work_for(3 * wait_s, step=wait_s / 10)
    assert (rig.event(event_id).state, rig.event(event_id).error_code) == ("parked", "gave_up:NotYet")
