"""Promotion assignments of contacts, and the multichannel promotions that they are assigned from."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from plugin.engage.calls.base import Calls
from plugin.engage.data import models, request_bodies, schemas
from plugin.engage.operations import OPERATIONS


class PromotionCalls(Calls):
    """Operations on promotions."""

    def list_promotion_assignments(
        self, contact_id: str, *, channel: models.RedemptionChannel = models.RedemptionChannel.ECOM
    ) -> models.Page[models.PromotionAssignment]:
        """Return all promotion assignments of a contact for a channel, redeemed and expired ones too."""
        query = {"contactId": contact_id, "redemptionChannelType": channel.value}
        return self._all("list_promotion_assignments", query, schemas.PromotionAssignmentSchema)

    def assign_promotion(self, contact_id: str, promotion_id: str) -> str | None:
        """Assign a promotion (template id) to a contact; return the assignment id if the answer has it.

        Raises EngageConflictError (PromotionExpired), EngageNotFoundError.
        """
        data = self._call("assign_promotion", body={"contactId": contact_id, "promotionId": promotion_id}).data
        if isinstance(data, Mapping) and isinstance(data.get("id"), str):
            return str(data["id"])
        return data if isinstance(data, str) and data else None

    def redeem_promotion(
        self, assignment_id: str, *, channel: models.RedemptionChannel = models.RedemptionChannel.ECOM
    ) -> None:
        """Redeem an assignment. Raises EngageNotFoundError, EngageConflictError when it is redeemed or expired."""
        self._call(
            "redeem_promotion",
            path={"assignment_id": assignment_id},
            body={"redemptionChannel": channel.value},
        )

    def reactivate_promotion(self, assignment_id: str, *, path: str) -> None:
        """Reactivate a redeemed assignment, if the tenant has an operation for it (docs/engage.md#reactivating-a-promotion).

        path: the tenant's own, with {assignmentId} in it. Raises EngageNotFoundError, EngageConflictError.
        """
        operation = replace(OPERATIONS["reactivate_promotion"], path=path.replace("{assignmentId}", "{assignment_id}"))
        self._call_operation(operation, path={"assignment_id": assignment_id})

    def create_promotion(self, promotion: models.PromotionWrite) -> models.Promotion:
        """Create a promotion template as a draft; a person must activate it in Engage."""
        data = self._call("create_promotion", body=request_bodies.promotion_body(promotion)).data
        if isinstance(data, str):
            return models.Promotion(id=data, name=promotion.name, external_id=promotion.external_id, status="Draft")
        loaded: models.Promotion = schemas.load(schemas.PromotionSchema, data, "create_promotion")
        return loaded

    def find_promotion(self, external_id: str) -> models.Promotion:
        """Return the template with an externalId. Raises EngageNotFoundError."""
        return self._promotion("find_promotion", query={"externalId": external_id})

    def get_promotion(self, promotion_id: str) -> models.Promotion:
        """Return a template by its id. Raises EngageNotFoundError."""
        return self._promotion("get_promotion", path={"id": promotion_id})

    def _promotion(self, name: str, **options: Any) -> models.Promotion:
        data = self._call(name, **options).data
        loaded: models.Promotion = schemas.load(schemas.PromotionSchema, data, name)
        return loaded
