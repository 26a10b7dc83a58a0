"""Order records: details that were renamed are read under their old name."""

from datetime import UTC, datetime

import pytest

from webhooks.orders.records import active_as_of

AT = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"active_as_of": AT.isoformat()}, AT),
        ({"stands_at": AT.isoformat()}, AT),
        ({"stands_at": "2026-01-01T00:00:00+00:00", "active_as_of": AT.isoformat()}, AT),
        ({}, None),
    ],
)
def test_active_as_of_is_read_under_its_old_name_too(details: dict[str, str], expected: datetime | None) -> None:
    assert active_as_of(details) == expected
