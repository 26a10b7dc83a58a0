"""Stores and consents of the tenant."""

from plugin.engage.calls.base import Calls
from plugin.engage.data import models, schemas


class TenantCalls(Calls):
    """Operations that read the tenant's set-up."""

    def list_stores(self, *, include_inactive: bool = False) -> tuple[models.Store, ...]:
        """Return the tenant's stores."""
        query = {"includeInactive": "true"} if include_inactive else {}
        return self._page("list_stores", query, schemas.StoreSchema, 0).items

    def list_consents(self) -> tuple[models.ConsentDefinition, ...]:
        """Return the tenant's consent definitions."""
        return self._page("list_consents", {}, schemas.ConsentDefinitionSchema, 0).items
