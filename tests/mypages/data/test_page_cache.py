"""The cache of rendered pages."""

from datetime import UTC, datetime, timedelta

from mypages.data.page_cache import PageCache


def test_cached_pages_are_bounded_in_size_and_time() -> None:
    page_cache, now = PageCache(max_bytes=1600), datetime.now(UTC)
    later = now + timedelta(hours=1)
    for number in range(40):
        page_cache.put(number, b"x" * 100, later, now)
    assert sum(page_cache.get(number, now) is not None for number in range(40)) == 16
    assert page_cache.get(39, now + timedelta(seconds=60)) is None
    page_cache.put("big", b"x" * 1000, later, now)
    page_cache.put("over", b"x", now, now)
    assert page_cache.get("big", now) is page_cache.get("over", now) is None
