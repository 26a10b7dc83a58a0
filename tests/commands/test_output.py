"""What commands print for people: tables that can be read in a narrow terminal too."""

from datetime import UTC, datetime

import pytest

from plugin.commands.common import table

COLUMNS = ["id", "shop", "topic", "state", "attempts", "next attempt", "why"]
WHY = "Engage refused the contact: e-mail is required. Add it in the shop, then `engage-plugin events retry 42`."
ROWS = [
    [42, "web-se", "customers/update", "parked", 3, None, WHY],
    [43, "web-se", "customers/data_request", "pending", 0, datetime(2026, 3, 5, 9, 30, tzinfo=UTC), None],
]


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_no_word_is_broken_however_narrow_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    table("Events", COLUMNS, ROWS)
    printed = capsys.readouterr().out
    words = printed.replace("│", " ").split()
    for word in ("customers/update", "customers/data_request", *WHY.split(), "2026-03-05", "09:30:00"):
        assert word in {word.rstrip(",") for word in words} | set(words)
    assert max(map(len, printed.splitlines())) <= width


def test_narrow_terminal_gets_paragraphs_and_a_wide_one_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    table("Events", COLUMNS, ROWS)
    assert capsys.readouterr().out.splitlines()[:3] == [
        "Events",
        "id 42, shop web-se, topic customers/update, state parked, attempts 3",
        "  why: Engage refused the contact: e-mail is required. Add it in the shop, then",
    ]
    monkeypatch.setenv("COLUMNS", "160")
    table("Events", COLUMNS, ROWS)
    assert "┃ topic" in capsys.readouterr().out


def test_empty_table_prints_none(capsys: pytest.CaptureFixture[str]) -> None:
    table("Events", COLUMNS, [])
    assert capsys.readouterr().out == "Events: none\n"
