"""All names in the files, in one place: correct them here when the tenant's schema differs.

Receipts: namespace, root, folder and file name are documented; most element names are inferred from the API's. Contacts:
root, namespace and the group `new` are known, the element of a contact is a guess. Redemptions: no format is documented,
so this one is our own (docs/engage.md#files-over-sftp). A shop's own XSLT can convert any of the three.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

#: A file must stay below this number of lines, which counts the item rows of receipts as well as lines of text.
LINES_BELOW = 20_000
SCHEMAS = Path(__file__).parent / "schemas"


class FileKind(StrEnum):
    """What a file holds."""

    RECEIPTS = "receipts"
    CONTACTS = "contacts"
    REDEMPTIONS = "redemptions"


@dataclass(frozen=True, slots=True)
class Names:
    """The names in files of one kind. groups: elements around the rows, the root first. keys: texts that must stay exact."""

    suffix: str
    namespace: str
    groups: tuple[str, ...]
    row: str
    schema: str
    keys: frozenset[str]


NAMES: Mapping[FileKind, Names] = MappingProxyType(
    {
        FileKind.RECEIPTS: Names(
            suffix="transactions",
            namespace="http://voyado.Schemas.ImportReceipts",
            groups=("transactions",),
            row="transaction",
            schema="transactions.xsd",
            keys=frozenset({"matchKey", "matchKeyType", "uniqueReceiptId", "storeExternalId", "sku", "couponId"}),
        ),
        FileKind.CONTACTS: Names(
            suffix="contacts",
            namespace="http://eClub.Schemas.ImportContact",
            groups=("contacts", "new"),
            row="contact",
            schema="contacts.xsd",
            keys=frozenset({"contactId"}),
        ),
        FileKind.REDEMPTIONS: Names(
            suffix="redemptions",
            namespace="urn:engage-shop-plugin:redemptions",
            groups=("redemptions",),
            row="redemption",
            schema="redemptions.xsd",
            keys=frozenset({"id", "contactId", "uniqueReceiptId"}),
        ),
    }
)

#: The element of a list, and the element of each entry in it.
ENTRIES: Mapping[str, str] = MappingProxyType(
    {
        "paymentMethods": "paymentMethod",
        "items": "item",
        "discounts": "discount",
        "taxDetails": "taxDetail",
        "usedPromotions": "usedPromotion",
        "usedRewardVouchers": "usedRewardVoucher",
        "usedBonusChecks": "usedBonusCheck",
        "consents": "consent",
    }
)
#: Pairs of name and value: <extraData><item name="...">value</item></extraData>.
PAIRS, PAIR, PAIR_NAME = "extraData", "item", "name"

#: The order of elements, as in Voyado's example; an importer's schema may be a sequence.
_ORDER = (
    "contact", "matchKey", "matchKeyType", "contactType",
    "uniqueReceiptId", "receiptNumber", "createdDate", "storeExternalId", "currency",
    "exchangeRateToGroupCurrency", "totalGrossPrice", "paymentMethods", "items", "taxDetails",
    "usedRewardVouchers", "usedBonusChecks", "usedPromotions",
    "type", "sku", "articleNumber", "articleName", "articleGroup", "quantity", "grossPaidPrice", "taxAmount", "taxPercent",
    "awardsBonus", "description", "value", "percent", "discounts",
    "promotionId", "couponId", "voucherNumber", "checkNumber",
    PAIRS,
)  # fmt: skip
ORDER: Mapping[str, int] = MappingProxyType({name: position for position, name in enumerate(_ORDER)})


def file_name(kind: str, at: datetime, sequence: int) -> str:
    """Return a file's name, YYYYMMDDHHmmss_<sequence>_<kind>.xml; leading zeros make names sort by their sequence."""
    return f"{at:%Y%m%d%H%M%S}_{sequence:06d}_{NAMES[FileKind(kind)].suffix}.xml"
