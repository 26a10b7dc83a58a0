"""The finished steps of an event: typed access to the JSON in its row. The names of the steps are stored: do not change them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
PROMOTION, VOUCHER = "promotion", "voucher"


@dataclass(frozen=True, slots=True)
class ContactMatch:
    """The contact of a customer. created: by this event, so that everything known of the customer has been sent already."""

    contact_id: str
    verified: bool
    created: bool


@dataclass(frozen=True, slots=True)
class RedemptionTarget:
    """A promotion assignment or reward voucher to redeem. promotion_id: its template. label: its name on a receipt.

    used: it was redeemed before this order came, and not by an order known here.
    """

    kind: str
    id: str
    promotion_id: str | None
    label: str
    used: bool = False


@dataclass(frozen=True, slots=True)
class RedemptionProblem:
    """What could not be redeemed or reactivated, for a person. code: stable word; text: one sentence."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class ResolvedRedemptions:
    """What is to be redeemed, and a problem for each promotion or voucher of the order that its contact does not have."""

    targets: tuple[RedemptionTarget, ...] = ()
    problems: tuple[RedemptionProblem, ...] = ()


class _Step(Generic[T]):
    """A step under its stored name: its value, or None while it is not finished."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, progress: "Progress", owner: type["Progress"]) -> T | None:
        value: T | None = progress.get(self._name)
        return value

    def __set__(self, progress: "Progress", value: T) -> None:
        progress.put(self._name, value)


class Progress:
    """The steps of one event, or of one part where a body means several events. Setting a step stores nothing by itself.

    steps: the JSON of the row, changed in place. prefix: before the names of a part's steps.
    """

    #: Id of the receipt that Engage has.
    receipt = _Step[str]("receipt")
    #: The attributes of an order's customer were compared and sent.
    patched = _Step[bool]("patched")
    #: A contact is about to be created: the answer to the call may be lost.
    create_intended = _Step[bool]("create_intended")
    #: The order was cancelled, and the shop says now that it is paid.
    reopened = _Step[bool]("reopened")
    #: The receipt went into a file.
    spooled = _Step[bool]("spooled")
    #: Contact changes of this event went in a file that Engage has picked up.
    filed = _Step[bool]("filed")
    #: Lines of refunds that were read from the shop, by refund id.
    supplement = _Step[dict[str, str]]("supplement")
    #: Erased rows of a shop, counted by table.
    erased = _Step[dict[str, int]]("erased")
    #: The erasure of a shop is in the log of erasures.
    recorded = _Step[bool]("recorded")
    #: How long the circuit breaker had been open before the first failed attempt, in seconds.
    breaker_open_s = _Step[float]("breaker_open_s")

    def __init__(self, steps: dict[str, Any], prefix: str = "") -> None:
        self.steps, self._prefix = steps, prefix

    def part(self, position: int) -> "Progress":
        """Return the progress of one of several events of a body."""
        return Progress(self.steps, f"{position}:")

    def get(self, name: str) -> Any:
        """Return the stored value of a step, or None."""
        return self.steps.get(self._prefix + name)

    def put(self, name: str, value: Any) -> None:
        """Set a step to a value that JSON can hold."""
        self.steps[self._prefix + name] = value

    @property
    def contact(self) -> ContactMatch | None:
        """The contact that was found or created for the event's customer."""
        step = self.get("contact")
        return None if step is None else ContactMatch(step["id"], step["verified"], step["created"])

    @contact.setter
    def contact(self, match: ContactMatch) -> None:
        self.put("contact", {"id": match.contact_id, "verified": match.verified, "created": match.created})

    @property
    def resolved(self) -> ResolvedRedemptions | None:
        """What the order redeems, as it was looked up once: Engage's lists change with each redemption."""
        step: Mapping[str, Sequence[Any]] | None = self.get("redeem")
        if step is None:
            return None
        return ResolvedRedemptions(
            tuple(RedemptionTarget(**target) for target in step["targets"]),
            tuple(RedemptionProblem(code, text) for code, text in step["problems"]),
        )

    @resolved.setter
    def resolved(self, resolved: ResolvedRedemptions) -> None:
        targets = [asdict(target) for target in resolved.targets]
        self.put(
            "redeem", {"targets": targets, "problems": [[problem.code, problem.text] for problem in resolved.problems]}
        )

    def is_redeemed(self, kind: str, assignment_id: str) -> bool:
        """Return whether a target was redeemed for this order."""
        return bool(self.get(f"redeemed:{kind}:{assignment_id}"))

    def set_redeemed(self, kind: str, assignment_id: str) -> None:
        """Note that a target was redeemed."""
        self.put(f"redeemed:{kind}:{assignment_id}", True)

    def is_redemption_filed(self, kind: str, assignment_id: str) -> bool:
        """Return whether the redemption of a target went into a file."""
        return bool(self.get(f"filed:{kind}:{assignment_id}"))

    def set_redemption_filed(self, kind: str, assignment_id: str) -> None:
        """Note that the redemption of a target went into a file."""
        self.put(f"filed:{kind}:{assignment_id}", True)

    def problem(self, kind: str, assignment_id: str) -> RedemptionProblem | None:
        """Return why a target cannot be redeemed, or None."""
        step = self.get(f"problem:{kind}:{assignment_id}")
        return None if step is None else RedemptionProblem(step[0], step[1])

    def set_problem(self, kind: str, assignment_id: str, problem: RedemptionProblem) -> None:
        """Note why a target cannot be redeemed."""
        self.put(f"problem:{kind}:{assignment_id}", [problem.code, problem.text])

    def forget_problems(self) -> None:
        """Let the next attempt look up again what the order redeems, and what stood in its way."""
        problems = self._prefix + "problem:"
        for name in [name for name in self.steps if name == self._prefix + "redeem" or name.startswith(problems)]:
            del self.steps[name]
