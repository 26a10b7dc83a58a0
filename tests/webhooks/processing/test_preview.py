"""A preview asks Engage between two rehearsals, so that webhooks never wait for Engage."""

from typing import Any

from support.bodies import customer

from plugin.engage.http.transport import Transport
from webhooks.processing.preview import Preview


def preview_of(rig: Any, transport: Transport) -> Preview:
    rig.transport = transport
    preview: Preview = rig.services.preview
    return preview


def test_webhooks_are_stored_while_a_preview_asks_engage(rig: Any) -> None:
    rig.seed(contacts=[{"contactType": "Member", "email": "ada@example.com"}])
    event_id = rig.send("customer.created", customer=customer())
    came_meanwhile = []

    class ShopTalksMeanwhile(Transport):
        def call(self, *arguments: Any, **options: Any) -> Any:
            came_meanwhile.append(rig.send("customer.updated", customer=customer(last_name=f"B{len(came_meanwhile)}")))
            return super().call(*arguments, **options)

    previewed = preview_of(rig, ShopTalksMeanwhile(rig.call_guards)).of_event(event_id, ask=True)
    assert came_meanwhile
    assert [call.operation for call in previewed.calls if call.assumed == "asked"]
    assert previewed.event.state == "delivered"
    assert rig.event(event_id).state == "pending"
    assert "create_contact" not in [call.operation for call in previewed.calls]
