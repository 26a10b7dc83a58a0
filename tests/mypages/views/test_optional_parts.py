"""Which optional parts a tenant has, from the setting, stored findings and this page's answers."""

import pytest

from mypages.views.optional_parts import OptionalParts
from plugin.store.shops.settings import parse_settings


def _parts(setting: str, stored: str, detected: str) -> OptionalParts:
    finding = {"points_found": stored} if stored else {}
    settings = parse_settings({"store": "web", "points": setting, **finding})
    return OptionalParts(settings, {"points": detected} if detected else {})


@pytest.mark.parametrize(
    ("setting", "stored", "detected", "may_have", "has", "is_detected_missing", "is_on_overview"),
    [
        ("yes", "no", "no", True, True, False, True),
        ("no", "yes", "yes", False, False, False, False),
        ("auto", "", "", True, False, False, False),
        ("auto", "no", "", False, False, False, False),
        ("auto", "yes", "", True, True, False, True),
        ("auto", "yes", "no", True, False, True, False),
        ("auto", "no", "yes", False, True, False, False),
    ],
)
def test_a_setting_decides_and_auto_follows_what_was_detected(
    setting: str,
    stored: str,
    detected: str,
    may_have: bool,
    has: bool,
    is_detected_missing: bool,
    is_on_overview: bool,
) -> None:
    parts = _parts(setting, stored, detected)
    assert parts.may_have("points") is may_have
    assert parts.has("points") is has
    assert parts.is_detected_missing("points") is is_detected_missing
    assert parts.is_on_overview("points", has_data=False) is is_on_overview
    assert parts.is_on_overview("points", has_data=True) is True


@pytest.mark.parametrize(
    ("setting", "stored", "detected", "changes"),
    [
        ("auto", "", "yes", {"points_found": "yes"}),
        ("auto", "yes", "no", {"points_found": "no"}),
        ("auto", "yes", "yes", {}),
        ("auto", "yes", "", {}),
        ("yes", "", "no", {}),
    ],
)
def test_only_changed_findings_are_stored_and_only_for_auto(
    setting: str, stored: str, detected: str, changes: dict[str, str]
) -> None:
    assert _parts(setting, stored, detected).changed_settings() == changes
