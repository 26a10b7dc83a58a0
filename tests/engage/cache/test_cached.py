"""The cache file: encrypted, keyed by contact, one call in flight."""

import threading
from pathlib import Path

from support.mypages_harness import Pages

from plugin.engage.cache.cached import Owner
from plugin.sandbox.testing import running_sandbox


def test_the_cache_file_holds_neither_personal_data_nor_the_api_key(tmp_path: Path) -> None:
    with running_sandbox() as sandbox:
        pages = Pages(tmp_path, sandbox)
        shop = pages.add_shop("web")
        contact_id = pages.contact(shop, firstName="Ada", email="ada@example.com")
        assert "Ada" in pages.logged_in(shop).get("/mypages/web/profile").text
        pages.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("my-pages-cache.sqlite*"))
    assert len(stored) > 1000
    for secret in (b"Ada", b"ada@example.com", b"key-web", contact_id.encode()):
        assert secret not in stored


def test_twenty_concurrent_reads_make_one_call(tmp_path: Path) -> None:
    with running_sandbox() as sandbox:
        pages = Pages(tmp_path, sandbox)
        shop = pages.add_shop("web")
        contact_id = pages.contact(shop)
        pages.fault(latency_s=0.3)
        owner, client = Owner("web", shop.tenant, contact_id, 1), pages.client_for(shop)
        ids = []
        threads = [
            threading.Thread(
                target=lambda: ids.append(
                    pages.cached.read(client, owner, lambda c: c.get_contact(contact_id)).value.id
                )
            )
            for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ids == [contact_id] * 20
        assert pages.calls() == ["getContact"]
        pages.close()
