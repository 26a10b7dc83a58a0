"""Which optional parts a tenant has: as the shop's setting says ("yes", "no"), or ("auto") as Engage's answers show."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from plugin.store.shops.settings import ShopSettings

OPTIONAL_PARTS = ("points", "vouchers")


@dataclass(frozen=True, slots=True)
class OptionalParts:
    """The optional parts of a shop's tenant. detected_features: "yes" or "no" for each part that this page's answers show.

    What earlier answers showed is stored in the settings.
    """

    settings: ShopSettings
    detected_features: dict[str, str] = field(default_factory=dict)

    def may_have(self, part: str) -> bool:
        """Return whether it is worth asking Engage."""
        return self._setting(part) == "yes" or (self._setting(part) == "auto" and self._stored(part) != "no")

    def has(self, part: str) -> bool:
        """Return whether the tenant is known to have the part, so that the navigation shows it."""
        known = self.detected_features.get(part) or self._stored(part)
        return self._setting(part) == "yes" or (self._setting(part) == "auto" and known == "yes")

    def is_detected_missing(self, part: str) -> bool:
        """Return whether this page's answers show that the tenant lacks the part."""
        return self._setting(part) == "auto" and self.detected_features.get(part) == "no"

    def is_on_overview(self, part: str, has_data: bool) -> bool:
        """Return whether the overview shows the part. has_data: of this shopper."""
        was_found = self._stored(part) == "yes" and self.detected_features.get(part) != "no"
        return has_data or self._setting(part) == "yes" or (self._setting(part) == "auto" and was_found)

    def changed_settings(self) -> Mapping[str, str]:
        """Return the settings to store, so that the next page knows what this page detected."""
        return {
            f"{part}_found": detected
            for part, detected in self.detected_features.items()
            if self._setting(part) == "auto" and self._stored(part) != detected
        }

    def _setting(self, part: str) -> str:
        return str(getattr(self.settings, part))

    def _stored(self, part: str) -> str:
        return str(getattr(self.settings, f"{part}_found"))
