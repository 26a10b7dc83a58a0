"""Writing files: names, schema, limits, control characters, style sheets, and what a crash or a fault leaves behind."""

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from plugin.engage_files.names import LINES_BELOW, NAMES, SCHEMAS, FileKind, file_name
from plugin.engage_files.rows import row_of
from plugin.engage_files.writer import FileWriter, WrittenFile
from plugin.errors import FileFaultError, PayloadError

AT = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)
SPACE = {"r": "http://voyado.Schemas.ImportReceipts"}


def receipt(number: int = 1, rows: int = 1, **changes: Any) -> dict[str, Any]:
    """Return a receipt as the API takes it."""
    item = {
        "type": "PURCHASE", "sku": "CAP-1", "quantity": Decimal(1), "grossPaidPrice": Decimal("250.00"),
        "taxAmount": Decimal("50.00"), "taxPercent": Decimal(25), "articleNumber": "CAP", "articleName": "Cap",
    }  # fmt: skip
    return {
        "contact": {"matchKey": "2b1f0000-0000-4000-8000-000000000001", "matchKeyType": "contactId"},
        "uniqueReceiptId": f"web-se-{number}",
        "receiptNumber": str(number),
        "createdDate": "2026-03-05T10:30:00+01:00",
        "storeExternalId": "web-se",
        "currency": "SEK",
        "totalGrossPrice": Decimal("250.00") * rows,
        "paymentMethods": [{"type": "card", "value": Decimal("250.00") * rows}],
        "items": [item] * rows,
        **changes,
    }


def write(folder: Path, *bodies: dict[str, Any], kind: FileKind = FileKind.RECEIPTS, **options: Any) -> WrittenFile:
    with FileWriter(kind, folder, "a.xml", **options) as file:
        for body in bodies:
            file.add(row_of(kind, body))
        return file.finish()


def test_a_file_has_the_documented_namespace_root_and_names_without_a_prefix(tmp_path: Path) -> None:
    written = write(tmp_path, receipt(1), receipt(2, rows=3))
    content = written.path.read_bytes()
    assert content.startswith(b'<?xml version="1.0" encoding="utf-8"?>\n<transactions xmlns="http://voyado.Schemas')
    assert content.count(b"xmlns") == 1
    root = etree.fromstring(content)
    assert root.tag == "{http://voyado.Schemas.ImportReceipts}transactions"
    assert [e.text for e in root.iterfind("r:transaction/r:contact/r:matchKeyType", SPACE)] == ["contactId"] * 2
    first = root[0]
    assert [etree.QName(child).localname for child in first] == [
        "contact", "uniqueReceiptId", "receiptNumber", "createdDate", "storeExternalId", "currency", "totalGrossPrice",
        "paymentMethods", "items",
    ]  # fmt: skip
    assert first.findtext("r:items/r:item/r:grossPaidPrice", namespaces=SPACE) == "250.00"
    assert (written.rows, written.cleaned, written.size) == (2, 0, len(content))
    assert written.sha256 == hashlib.sha256(content).hexdigest()
    assert written.lines == content.count(b"\n") == 5
    assert [path.name for path in tmp_path.iterdir()] == ["a.xml"]
    assert written.path.stat().st_mode & 0o777 == 0o600


def test_a_name_has_time_sequence_and_kind_and_sorts_in_the_order_of_the_sequence() -> None:
    names = [file_name(kind, AT, 471) for kind in FileKind]
    assert all(re.fullmatch(r"\d{14}_\d+_(transactions|contacts|redemptions)\.xml", name) for name in names)
    assert file_name(FileKind.RECEIPTS, AT, 9) < file_name(FileKind.RECEIPTS, AT, 10)


def test_control_characters_become_spaces_and_a_key_with_one_is_rejected(tmp_path: Path) -> None:
    bad = receipt(extraData=[{"name": "note", "value": "a\x00b\nc\ud800"}], receiptNumber="1\x0b")
    written = write(tmp_path, bad, receipt(2))
    assert written.cleaned == 2
    assert "a b c " in written.path.read_text()
    with pytest.raises(PayloadError, match="uniqueReceiptId: it holds control characters"):
        row_of(FileKind.RECEIPTS, receipt(uniqueReceiptId="web\x1bse"))


def test_text_of_any_script_and_markup_survives(tmp_path: Path) -> None:
    name = "Mössa <b>&amp; 帽子 🧢 ]]>"
    body = receipt()
    body["items"][0]["articleName"] = name
    root = etree.parse(write(tmp_path, body).path)
    assert root.findtext(".//r:articleName", namespaces=SPACE) == name


def test_every_file_stays_below_its_line_limit_counting_item_rows(tmp_path: Path) -> None:
    with FileWriter(FileKind.RECEIPTS, tmp_path, "a.xml") as file:
        number = 0
        while file.fits(row := row_of(FileKind.RECEIPTS, receipt(number, rows=7))):
            file.add(row)
            number += 1
        with pytest.raises(FileFaultError, match="must stay below 20000 lines"):
            file.add(row)
        written = file.finish()
    root = etree.parse(written.path)
    assert 19_990 < len(root.findall(".//r:item", SPACE)) == written.lines < LINES_BELOW


@pytest.mark.parametrize(
    "break_it",
    [
        lambda body: body.update(currency="kr"),
        lambda body: body.update(createdDate="2026-03-05T10:30:00"),
        lambda body: body.update(totalGrossPrice="much"),
        lambda body: body["contact"].update(matchKeyType="email"),
        lambda body: body.update(uniqueReceiptId=""),
        lambda body: body.update(invented="x"),
        lambda body: body.pop("items"),
    ],
)
def test_an_invalid_file_is_never_renamed_and_the_error_names_its_row(
    tmp_path: Path, break_it: Callable[[dict[str, Any]], None]
) -> None:
    body = receipt(2)
    break_it(body)
    with pytest.raises(FileFaultError, match=r"does not fit its schema transactions\.xsd, in row 2") as caught:
        write(tmp_path, receipt(1), body, receipt(3))
    assert caught.value.row == 1
    assert list(tmp_path.iterdir()) == []


def test_every_field_of_a_receipt_fits_the_schema(tmp_path: Path) -> None:
    body = receipt(
        exchangeRateToGroupCurrency=Decimal("0.0951"),
        taxDetails=[{"value": Decimal(50), "percent": Decimal(25), "description": "VAT"}],
        usedPromotions=[{"promotionId": "p", "couponId": "c"}, {"couponId": "d"}],
        usedRewardVouchers=[{"voucherNumber": "V-1"}],
        usedBonusChecks=[{"checkNumber": "B-1"}],
        extraData=[{"name": "gift", "value": "yes"}],
    )
    body["contact"]["contactType"] = "Member"
    body["paymentMethods"][0] |= {"description": "Card", "extraData": [{"name": "cardNumber", "value": "1"}]}
    body["items"][0] |= {
        "articleGroup": "Caps",
        "awardsBonus": False,
        "discounts": [{"type": "discount", "value": Decimal("-50.00"), "description": "Spring"}],
        "extraData": [{"name": "size", "value": "M"}],
    }
    assert write(tmp_path, body).rows == 1


def test_contacts_and_redemptions_fit_their_schemas(tmp_path: Path) -> None:
    contact = {"contactId": "c", "lastName": "Berg", "shoeSize": "38"}
    assert b"<new>" in write(tmp_path, contact, kind=FileKind.CONTACTS).path.read_bytes()
    with pytest.raises(FileFaultError):
        write(tmp_path, {"contactId": "c"}, kind=FileKind.CONTACTS)
    with pytest.raises(PayloadError, match="name of an XML element"):
        row_of(FileKind.CONTACTS, {"contactId": "c", "shoe size": "38"})
    redemption = {
        "uniqueReceiptId": "web-se-1", "type": "promotion", "id": "a", "contactId": "c", "redemptionChannel": "ECOM",
        "redeemedDate": datetime(2026, 3, 5, tzinfo=UTC),
    }  # fmt: skip
    assert write(tmp_path, redemption, kind=FileKind.REDEMPTIONS).rows == 1


def test_the_schemas_are_valid() -> None:
    for names in NAMES.values():
        etree.XMLSchema(etree.parse(SCHEMAS / names.schema))


SHEET = """<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"
  xmlns:r="http://voyado.Schemas.ImportReceipts"><xsl:output encoding="utf-8" indent="{indent}"/>
  <xsl:template match="/"><Receipts>{extra}<xsl:for-each select="//r:uniqueReceiptId"><Id><xsl:value-of select="."/></Id>
  </xsl:for-each></Receipts></xsl:template></xsl:stylesheet>"""


def sheet(folder: Path, indent: str = "no", extra: str = "") -> Path:
    path = folder / "sheet.xslt"
    path.write_text(SHEET.format(indent=indent, extra=extra))
    return path


def test_a_style_sheet_reshapes_the_uploaded_file(tmp_path: Path) -> None:
    written = write(tmp_path, receipt(1), receipt(2), reshape=sheet(tmp_path))
    content = written.path.read_bytes()
    assert b"<Id>web-se-1</Id><Id>web-se-2</Id></Receipts>" in content
    assert (written.size, written.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_a_style_sheet_with_too_many_lines_external_access_or_invalid_content_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(FileFaultError, match="lower the setting fallback_lines"):
        write(
            tmp_path,
            *[receipt(n) for n in range(95)],
            below=100,
            reshape=sheet(tmp_path, extra="<x>x" + "&#10;" * 100 + "</x>"),
        )
    secret = tmp_path / "secret.xml"
    secret.write_text("<s>secret</s>")
    reading = sheet(tmp_path, extra=f"<xsl:copy-of select=\"document('{secret}')\"/>")
    with pytest.raises(FileFaultError, match="cannot be used"):
        write(tmp_path, receipt(), reshape=reading)
    (tmp_path / "sheet.xslt").write_text("no style sheet")
    with pytest.raises(FileFaultError, match="correct it, or unset its setting"):
        write(tmp_path, receipt(), reshape=tmp_path / "sheet.xslt")
    with pytest.raises(FileFaultError, match="cannot be used"):
        write(tmp_path, receipt(), reshape=tmp_path / "missing.xslt")
    assert not (tmp_path / "a.xml").exists()


def test_a_temporary_file_left_by_a_crash_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.xml.part").write_text("half of a file of another time" * 1000)
    assert write(tmp_path, receipt()).rows == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.xml"]
