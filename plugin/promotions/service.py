"""Creating promotions as drafts, and finding them by either of their names.

Nothing in Engage's API activates a promotion or lists promotions (docs/engage.md#templates): a person activates them, and
this plugin stores those that it created.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

from plugin.engage.client import EngageClient
from plugin.engage.data.models import Promotion, PromotionAssignment, PromotionWrite
from plugin.errors import ConflictError, EngageError, EngageNotFoundError, NotFoundHereError, TransientError
from plugin.store.orders.promotions import KnownPromotion, Promotions
from plugin.store.shops.shops import RegisteredShop

ACTIVATE = (
    "It is a draft: a person must activate it in Engage (Promotions > the promotion > Activate) before it can be "
    "assigned. No call of Engage's API does that."
)
GUID = re.compile(r"^[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$")
MAX_NAME, MAX_VALUE, MAX_TEXT, MAX_DAYS = 450, 512, 4000, 1200
CODE, PERCENT, MONEY = "EXTERNALOFFER", "PERCENT", "MONEY"


@dataclass(frozen=True, slots=True)
class ListedPromotion:
    """A promotion that was created here. status: as Engage says now; unknown while it does not answer."""

    known: KnownPromotion
    status: str


@dataclass(frozen=True, slots=True)
class PromotionService:
    """Creates, lists and finds promotions."""

    promotions: Promotions
    client_for: Callable[[RegisteredShop], EngageClient]
    clock: Callable[[], datetime]

    def create(self, shop: RegisteredShop, write: PromotionWrite) -> Promotion:
        """Create a draft, once for its externalId.

        Raises ConflictError when the externalId is taken or a value is faulty, EngageError. After a lost answer the
        draft is searched by its externalId.
        """
        faults = find_faults(write)
        if faults:
            raise ConflictError(" ".join(faults))
        client = self.client_for(shop)
        before = _find_created(client, write.external_id)
        if before is not None:
            raise ConflictError(
                f"The externalId {write.external_id!r} is that of the promotion {before.name!r} ({before.id}, "
                f"{before.status or 'status unknown'}) already; each promotion needs its own."
            )
        try:
            made = client.create_promotion(write)
        except TransientError:
            found = _find_created(client, write.external_id)
            if found is None:
                raise
            made = found
        known = KnownPromotion(made.id, write.external_id, write.name, write.value_type, write.value, self.clock())
        self.promotions.remember(shop, known)
        return made

    def list_all(self, shop: RegisteredShop) -> list[ListedPromotion]:
        """Return the promotions that were created here, each with its present status."""
        client = self.client_for(shop)
        return [
            ListedPromotion(known, self._status(client, known.promotion_id)) for known in self.promotions.all_of(shop)
        ]

    def find(self, shop: RegisteredShop, name: str) -> Promotion:
        """Return a promotion by its template id or its externalId.

        Raises NotFoundHereError that says which id was given instead, EngageError.
        """
        client = self.client_for(shop)
        name = name.strip()
        if GUID.match(name):
            try:
                return client.get_promotion(name)
            except EngageNotFoundError:
                pass
        if not 0 < len(name) <= MAX_NAME:
            raise NotFoundHereError(f"A promotion's externalId has 1 to {MAX_NAME} characters.")
        try:
            return client.find_promotion(name)
        except EngageNotFoundError:
            raise NotFoundHereError(self._explain_unknown(shop, name)) from None

    def assignments(self, shop: RegisteredShop, contact_id: str, promotion: Promotion) -> list[PromotionAssignment]:
        """Return a contact's assignments of a promotion: their ids are the ids to redeem."""
        found = self.client_for(shop).list_promotion_assignments(contact_id).items
        return [assignment for assignment in found if assignment.promotion_id == promotion.id]

    def _explain_unknown(self, shop: RegisteredShop, name: str) -> str:
        template = self.promotions.template_of_assignment(shop, name)
        if template is None:
            return (
                f"No promotion has the id or externalId {name!r}. `engage-plugin promotions list {shop.name}` shows those that "
                "were created here; an id from a contact's list or a receipt's couponId is an assignment's, not a promotion's."
            )
        of = f" of the promotion {template}" if template else ""
        return f"{name} is the id of one contact's assignment{of}, not of a promotion. Name the promotion by its own id or externalId."

    def _status(self, client: EngageClient, promotion_id: str) -> str:
        try:
            return client.get_promotion(promotion_id).status or "unknown"
        except EngageNotFoundError:
            return "deleted in Engage"
        except EngageError as error:
            return f"unknown ({type(error).__name__.removesuffix('Error')})"


def _find_created(client: EngageClient, external_id: str) -> Promotion | None:
    """Return the promotion with an externalId, None where there is none."""
    try:
        return client.find_promotion(external_id)
    except EngageNotFoundError:
        return None


def find_faults(write: PromotionWrite) -> list[str]:
    """Return what is wrong with a promotion before Engage is asked, a sentence each."""
    faults = []
    for name, text in (("name", write.name), ("external_id", write.external_id)):
        if not text.strip() or len(text) > MAX_NAME or not text.isprintable():
            faults.append(f"{name} must have 1 to {MAX_NAME} printable characters.")
    if (write.end_date is None) == (write.assigned_days is None):
        faults.append("Give either end_date or assigned_days.")
    if write.end_date is not None and write.end_date < write.start_date:
        faults.append("end_date must not be before start_date.")
    if write.assigned_days is not None and not 1 <= write.assigned_days <= MAX_DAYS:
        faults.append(f"assigned_days must be a whole number from 1 to {MAX_DAYS}.")
    faults += [
        f"{name} must have at most {MAX_TEXT} characters."
        for name, shown in (("heading", write.heading), ("description", write.description))
        if shown is not None and len(shown) > MAX_TEXT
    ]
    return faults + _value_faults(write)


def _value_faults(write: PromotionWrite) -> list[str]:
    if write.value_type == CODE:
        good = 0 < len(write.value.strip()) <= MAX_VALUE and write.value.isprintable()
        return [] if good else [f"code must have 1 to {MAX_VALUE} printable characters."]
    limit = Decimal(100) if write.value_type == PERCENT else Decimal(10_000_000)
    name = write.value_type.lower()
    amounts = [parse_amount(write.value), *(value.amount for value in write.local_values)]
    faults = []
    if any(amount is None or not 0 < amount <= limit for amount in amounts):
        faults.append(f"{name} must be a number above 0 and at most {limit:f}.")
    if any(not re.fullmatch(r"[A-Z]{3}", value.currency) for value in write.local_values):
        faults.append("Each currency must be three capitals (ISO 4217).")
    return faults


def parse_amount(text: str) -> Decimal | None:
    """Read a plain decimal number; None when it is not valid."""
    if not re.fullmatch(r"\d{1,12}(\.\d{1,4})?", text.strip()):
        return None
    try:
        return Decimal(text.strip())
    except InvalidOperation:
        return None


def parse_day(text: str) -> date | None:
    """Read a day such as 2026-03-05; None when it is not valid."""
    try:
        return date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) else None
    except ValueError:
        return None
