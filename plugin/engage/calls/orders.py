"""Orders with their jobs and actions. Most of their fields are not documented (facts 4.1)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from plugin.engage.calls.base import Calls
from plugin.engage.data import models
from plugin.engage.http.http_errors import Answer, items_of
from plugin.errors import ContractError


class OrderCalls(Calls):
    """Operations on orders."""

    def create_order(self, order: Mapping[str, Any]) -> models.OrderJob:
        """Hand in an order, in Engage's own names (most fields are not documented, facts 4.1); returns its job."""
        return _job(self._call("create_order", body=dict(order)))

    def get_order(self, order_id: str) -> Mapping[str, Any]:
        """Return a stored order as Engage answers it. Raises EngageNotFoundError."""
        data = self._call("get_order", path={"order_id": order_id}).data
        if not isinstance(data, Mapping):
            raise ContractError("Engage's answer to get_order is no object.", operation="get_order", field="orderId")
        return data

    def list_orders(self, contact_id: str) -> tuple[Mapping[str, Any], ...]:
        """Return the first page of a contact's orders."""
        return tuple(items_of(self._call("list_orders", query={"contactId": contact_id}).data, "list_orders")[0])

    def replace_order(self, order_id: str, order: Mapping[str, Any]) -> models.OrderJob:
        """Replace a whole order; returns its job."""
        return _job(self._call("replace_order", path={"order_id": order_id}, body=dict(order)))

    def delete_order(self, order_id: str) -> models.OrderJob:
        """Delete an order; returns its job."""
        return _job(self._call("delete_order", path={"order_id": order_id}))

    def get_order_job(self, job_id: str) -> models.OrderJob:
        """Return the state of a job; 302 to the order means done."""
        answer = self._call("get_order_job", path={"job_id": job_id}, accept=frozenset({302}))
        return replace(_job(answer, job_id), done=True) if answer.status == 302 else _job(answer, job_id)

    def trigger_order_action(self, order_id: str, action: str, version_tag: str, language: str | None = None) -> None:
        """Have Engage send an order's mail. Raises EngageNotFoundError, also when version_tag is not the current one."""
        body = {"action": action, "versionTag": version_tag, "language": language}
        self._call(
            "trigger_order_action",
            path={"order_id": order_id},
            body={n: v for n, v in body.items() if v is not None},
        )

    def change_order_status(self, order_id: str, change: Mapping[str, Any]) -> models.OrderJob:
        """Change an order's status; returns its job."""
        return _job(self._call("change_order_status", path={"order_id": order_id}, body=dict(change)))

    def change_order_delivery(self, order_id: str, change: Mapping[str, Any]) -> models.OrderJob:
        """Change an order's delivery; returns its job."""
        return _job(self._call("change_order_delivery", path={"order_id": order_id}, body=dict(change)))


def _job(answer: Answer, job_id: str | None = None) -> models.OrderJob:
    """Read a job from whatever shape it has (facts 4.1: the fields are not documented)."""
    data = answer.data if isinstance(answer.data, Mapping) else {}
    found = data.get("jobId") or job_id or answer.headers.get("Location", "").rstrip("/").rpartition("/")[2]
    if not found:
        raise ContractError("Engage's answer to an order's write names no job.", operation="order", field="jobId")
    status = str(data.get("status") or "")
    version_tag = data.get("versionTag")
    return models.OrderJob(
        str(found),
        done=status == "Completed",
        failed=status in {"Failed", "CompletedWithErrors"},
        version_tag=str(version_tag) if version_tag else None,
    )
