"""1,000,000 receipts written to files: the rate, and memory that must not grow. FILES_RECEIPTS sets another number.

Baseline in the same run: the same receipts as the bodies of API calls, turned to JSON and sent nowhere. Against the API
itself nothing needs measuring: at 50 requests a second a million receipts take 5.6 hours.
"""

import json
import os
import resource
import tempfile
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench.machine import show
from plugin.engage.data.receipts import Receipt, ReceiptDiscount, ReceiptItem, ReceiptPayment, TaxDetail
from plugin.engage.data.request_bodies import receipt_body
from plugin.engage_files.names import FileKind
from plugin.engage_files.writer import check
from plugin.store.database.engine import Database
from plugin.store.files.files import FallbackFiles
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import NewShop
from plugin.store.shops.vault import Vault
from plugin.store.tables.base import Base
from plugin.store.tables.files import FileState
from plugin.store.tables.partial_indexes import INDEXES
from webhooks.fallback.receipt_stream import ReceiptStream

NUMBER = int(os.environ.get("FILES_RECEIPTS", "1000000"))
MARKS = 10
FIRST = datetime(2024, 3, 5, 9, 30, tzinfo=UTC)


def receipt(number: int) -> Receipt:
    """Return a receipt of two to four rows, each different."""
    rows = 2 + number % 3
    price = Decimal(100 + number % 900)
    item = ReceiptItem(
        type="PURCHASE",
        sku=f"SKU-{number % 5000}",
        quantity=Decimal(1),
        gross_paid_price=price,
        tax_amount=price / 5,
        tax_percent=Decimal(25),
        article_number=f"A-{number % 5000}",
        article_name="Mössa, blå & gul",
        discounts=(ReceiptDiscount(Decimal(-10), "discount", "Spring"),),
    )
    return Receipt(
        contact_id=f"2b1f0000-0000-4000-8000-{number % 200_000:012d}",
        unique_receipt_id=f"bench-{number}",
        receipt_number=str(number),
        created_date=FIRST + timedelta(seconds=number),
        store_external_id="web-se",
        currency="SEK",
        total_gross_price=price * rows,
        payment_methods=(ReceiptPayment("card", price * rows, "Card"),),
        items=(item,) * rows,
        exchange_rate_to_group_currency=Decimal(1),
        tax_details=(TaxDetail(price * rows / 5, Decimal(25)),),
    )


def resident_mb() -> float:
    """Return this process's memory now, in MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        database = Database(f"sqlite:///{name}/bench.sqlite")
        assert INDEXES, "imported, so that they are created with their tables"
        Base.metadata.create_all(database.engine)  # without Alembic, which would use memory too
        new = NewShop("bench", "standard", "http://127.0.0.1:9", "key", "whsec_" + "A" * 32, {"store": "web-se"})
        shop = Shops(database, Vault("k" * 40)).add(new, FIRST)
        files, folder, memory = FallbackFiles(database), Path(name) / "files", list[float]()
        started, processor = time.monotonic(), time.process_time()
        with ReceiptStream(files, shop, folder, lambda: datetime.now(UTC)) as history:
            for number in range(NUMBER):
                finished = history.add(receipt(number))
                if finished is not None:
                    (folder / finished).unlink()  # a million receipts are some 2 GB
                if number % (NUMBER // MARKS) == NUMBER // MARKS - 1:
                    memory.append(resident_mb())
            last = history.finish()
        took, worked = time.monotonic() - started, time.process_time() - processor
        written = files.live(shop, FileState.WRITTEN)
        check(FileKind.RECEIPTS, folder / str(last))
        database.close()
    started = time.process_time()
    for number in range(NUMBER // MARKS):
        json.dumps(receipt_body(receipt(number), "usedRewardVouchers"), default=_plain)
    as_json = (time.process_time() - started) * MARKS
    assert sum(file.rows for file in written) == NUMBER
    assert max(file.lines or 0 for file in written) < 20_000
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    show(
        f"{NUMBER} receipts to files, checked against their schema and synced",
        {
            "files": len(written),
            "MB": sum(file.size or 0 for file in written) / 1e6,
            "seconds": took,
            "receipts/s": NUMBER / took,
            "receipts/s of processor time": NUMBER / worked,
            "times the processor time of the same as JSON": worked / as_json,
            "times as fast as the API at 50/s": NUMBER / took / 50,
            "peak memory, MB (under 100)": peak,
            "memory after each tenth, MB": ", ".join(f"{mb:.0f}" for mb in memory),
        },
    )


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else str(value)


if __name__ == "__main__":
    main()
