"""The result of a check."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report.

    what: what was checked. result: "ok", "warning", "fault", or "by hand" for what no endpoint shows. todo: what to do, empty
    when there is nothing to do.
    """

    what: str
    result: str
    todo: str = ""
