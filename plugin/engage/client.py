"""The Engage client: one method an operation, in Engage's words. Bound to one shop's account.

Every method raises TransientError (HeldBackError when nothing was sent), UnauthorisedError, PermanentError,
EngageNotFoundError, EngageConflictError or ContractError; the docstrings name those that mean something special.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from plugin.engage import models, schemas, writes
from plugin.engage.answers import Answer, contact_id_of, items_of
from plugin.engage.operations import OPERATIONS, Lane
from plugin.engage.transport import CallRecord, EngageAccount, Transport
from plugin.errors import ContractError, EngageNotFoundError

BULK_LIMIT = 4000
PAGE_SIZE = 100
MAX_PAGES = 50


class EngageClient:
    """Calls Engage for one shop.

    Copies made by `with_options` share everything else. transactions_path: which of the two candidate operations a
    tenant answers (facts 3); found out once and remembered by the caller through on_transactions_path.
    """

    def __init__(
        self,
        account: EngageAccount,
        transport: Transport,
        *,
        lane: Lane | None = None,
        read_timeout_s: float | None = None,
        observer: Callable[[CallRecord], None] | None = None,
        transactions_path: str = "list_transactions",
        on_transactions_path: Callable[[str], None] | None = None,
    ) -> None:
        self.account = account
        self._transport = transport
        self._lane = lane
        self._read_timeout_s = read_timeout_s
        self._observer = observer
        self.transactions_path = transactions_path
        self._on_transactions_path = on_transactions_path

    def with_options(
        self,
        *,
        lane: Lane | None = None,
        read_timeout_s: float | None = None,
        observer: Callable[[CallRecord], None] | None = None,
    ) -> "EngageClient":
        """Return a client with another lane, read time-out (seconds) or observer."""
        return EngageClient(
            self.account,
            self._transport,
            lane=self._lane if lane is None else lane,
            read_timeout_s=read_timeout_s or self._read_timeout_s,
            observer=observer or self._observer,
            transactions_path=self.transactions_path,
            on_transactions_path=self._on_transactions_path,
        )

    # --- contacts -----------------------------------------------------------------------------------------------

    def find_contact_id(
        self,
        *,
        email: str | None = None,
        mobile_phone: str | None = None,
        social_security_number: str | None = None,
        custom_key: str | None = None,
        contact_type: str | None = None,
    ) -> str:
        """Return the contactId. Raises EngageNotFoundError, and EngageConflictError (MultipleMatches).

        Never uses `any`, which stops at the first attribute that a value looks like (facts 2.2).
        """
        query = {
            "email": email,
            "mobilePhone": mobile_phone,
            "socialSecurityNumber": social_security_number,
            "customKey": custom_key,
            "contactType": contact_type,
        }
        answer = self._call("find_contact_id", query={name: value for name, value in query.items() if value})
        return contact_id_of(answer.data, "find_contact_id")

    def create_contact(
        self,
        write: models.ContactWrite,
        *,
        contact_type: str,
        store_external_id: str | None,
        source: str | None,
    ) -> models.CreatedContact:
        """Create a contact. Raises EngageConflictError, with contact_id where the answer names it, when the key is taken.

        source and store go in the query: sent as headers they are silently ignored (facts 1).
        """
        query = {"source": source, "storeExternalId": store_external_id}
        answer = self._call(
            "create_contact",
            query={name: value for name, value in query.items() if value},
            body=writes.contact_body(write, contact_type),
        )
        contact_id = contact_id_of(answer.data, "create_contact")
        whole = isinstance(answer.data, Mapping) and "attributes" in answer.data
        contact = schemas.load(schemas.ContactSchema, answer.data, "create_contact") if whole else None
        return models.CreatedContact(contact_id, contact)

    def get_contact(self, contact_id: str) -> models.Contact:
        """Return a contact. Raises EngageNotFoundError."""
        answer = self._call("get_contact", path={"contact_id": contact_id})
        contact: models.Contact = schemas.load(schemas.ContactSchema, answer.data, "get_contact")
        return contact

    def patch_contact(self, contact_id: str, write: models.ContactWrite) -> None:
        """Change the given fields of a contact, and no others. Raises EngageNotFoundError, PermanentError with the field."""
        self._call("patch_contact", path={"contact_id": contact_id}, body=writes.contact_body(write))

    def delete_contact(self, contact_id: str) -> None:
        """Delete a contact. Raises EngageNotFoundError."""
        query = {"source": self.account.source} if self.account.source else {}
        self._call("delete_contact", path={"contact_id": contact_id}, query=query)

    def update_contact_type(self, contact_id: str, contact_type: str) -> None:
        """Give a contact another type. Raises PermanentError when data that the type requires is missing."""
        self._call("update_contact_type", path={"contact_id": contact_id}, query={"contactTypeId": contact_type})

    def bulk_create_contacts(self, contacts: Sequence[models.ContactWrite], *, contact_type: str) -> str:
        """Hand in at most 4,000 contacts of one type and return the batch id."""
        return self._bulk("bulk_create_contacts", [writes.contact_body(write) for write in contacts], contact_type)

    def bulk_patch_contacts(
        self, changes: Sequence[tuple[str, models.ContactWrite]], *, contact_type: str, key: str = "contactId"
    ) -> str:
        """Hand in at most 4,000 changes, each (key value, fields), and return the batch id.

        key: the name under which a row says which contact it is; that contactId serves is inferred (facts 2.9).
        """
        rows = [{key: value, **writes.contact_body(write)} for value, write in changes]
        return self._bulk("bulk_patch_contacts", rows, contact_type)

    def get_bulk_status(self, batch_id: str) -> models.BatchStatus:
        """Return how a batch went. Raises EngageNotFoundError."""
        return _batch_status(self._call("get_bulk_status", query={"batchId": batch_id}).data)

    def list_changed_contacts(self, change: str, since: datetime, until: datetime | None = None) -> tuple[str, ...]:
        """Return contactIds that were Created, Updated or Deleted between two aware times."""
        query = {
            "changeType": change,
            "fromDate": f"{since:%Y-%m-%d %H:%M:%S}.{since.microsecond // 1000:03d}",
        }
        if until is not None:
            query["toDate"] = f"{until:%Y-%m-%d %H:%M:%S}.{until.microsecond // 1000:03d}"
        items, _ = items_of(self._call("list_changed_contacts", query=query).data, "list_changed_contacts")
        return tuple(str(item) for item in items)

    # --- transactions and receipts ------------------------------------------------------------------------------

    def list_transactions(
        self, contact_id: str, *, offset: int = 0, count: int = PAGE_SIZE
    ) -> models.Page[models.Transaction]:
        """Return one page of a contact's purchases and returns, as Engage orders them."""
        paging = {"offset": offset, "count": count}
        if self.transactions_path == "list_transactions":
            try:
                answer = self._call("list_transactions", query={"contactId": contact_id, **paging})
                return self._transaction_page(answer, offset)
            except EngageNotFoundError as first:
                try:
                    page = self._contact_transactions(contact_id, paging)
                except EngageNotFoundError:
                    raise first from None  # both say 404: the contact is unknown, not the path
                self.transactions_path = "list_contact_transactions"
                if self._on_transactions_path is not None:
                    self._on_transactions_path(self.transactions_path)
                return page
        return self._contact_transactions(contact_id, paging)

    def create_receipt(self, receipt: models.Receipt) -> None:
        """Hand in a receipt. Engage accepts it now and imports it later; one it knows is ignored (facts 5.1)."""
        self._call("create_receipt", body=writes.receipt_body(receipt, self.account.voucher_field))

    # --- promotions ---------------------------------------------------------------------------------------------

    def list_promotion_assignments(
        self, contact_id: str, *, channel: models.RedemptionChannel = models.RedemptionChannel.ECOM
    ) -> models.Page[models.PromotionAssignment]:
        """Return all promotion assignments of a contact for a channel, redeemed and expired ones too."""
        query = {"contactId": contact_id, "redemptionChannelType": channel.value}
        return self._all("list_promotion_assignments", query, schemas.PromotionAssignmentSchema)

    def assign_promotion(self, contact_id: str, promotion_id: str) -> str | None:
        """Give a promotion (template id) to a contact; returns the assignment id where the answer names it.

        Raises EngageConflictError (PromotionExpired), EngageNotFoundError.
        """
        data = self._call("assign_promotion", body={"contactId": contact_id, "promotionId": promotion_id}).data
        if isinstance(data, Mapping) and isinstance(data.get("id"), str):
            return str(data["id"])
        return data if isinstance(data, str) and data else None

    def redeem_promotion(
        self, assignment_id: str, *, channel: models.RedemptionChannel = models.RedemptionChannel.ECOM
    ) -> None:
        """Redeem an assignment. Raises EngageNotFoundError, EngageConflictError when it is redeemed or expired."""
        self._call(
            "redeem_promotion",
            path={"assignment_id": assignment_id},
            body={"redemptionChannel": channel.value},
        )

    def create_promotion(self, promotion: models.PromotionWrite) -> models.Promotion:
        """Create a promotion template as a draft; a person must activate it in Engage."""
        data = self._call("create_promotion", body=writes.promotion_body(promotion)).data
        if isinstance(data, str):
            return models.Promotion(id=data, name=promotion.name, external_id=promotion.external_id, status="Draft")
        loaded: models.Promotion = schemas.load(schemas.PromotionSchema, data, "create_promotion")
        return loaded

    def find_promotion(self, external_id: str) -> models.Promotion:
        """Return the template with an externalId. Raises EngageNotFoundError."""
        return self._promotion("find_promotion", query={"externalId": external_id})

    def get_promotion(self, promotion_id: str) -> models.Promotion:
        """Return a template by its id. Raises EngageNotFoundError."""
        return self._promotion("get_promotion", path={"id": promotion_id})

    def update_promotion(self, promotion_id: str, promotion: models.PromotionWrite) -> None:
        """Replace a template, possible while it is a draft. Raises EngageConflictError otherwise."""
        self._call("update_promotion", path={"id": promotion_id}, body=writes.promotion_body(promotion))

    def delete_promotion(self, promotion_id: str) -> None:
        """Delete a template that is assigned to nobody. Raises EngageConflictError otherwise."""
        self._call("delete_promotion", path={"id": promotion_id})

    # --- vouchers and points ------------------------------------------------------------------------------------

    def list_available_reward_vouchers(self, contact_id: str) -> models.Page[models.RewardVoucher]:
        """Return the vouchers that a contact can use."""
        return self._all("list_available_reward_vouchers", {"contactId": contact_id}, schemas.RewardVoucherSchema)

    def list_reward_vouchers(self, contact_id: str) -> models.Page[models.RewardVoucher]:
        """Return all vouchers of a contact, used and expired ones too."""
        return self._all("list_reward_vouchers", {"contactId": contact_id}, schemas.RewardVoucherSchema)

    def redeem_reward_voucher(self, reward_voucher_id: str) -> None:
        """Redeem a voucher. Raises EngageNotFoundError, EngageConflictError (RewardVoucherAlreadyRedeemed, ...Expired)."""
        self._call("redeem_reward_voucher", path={"reward_voucher_id": reward_voucher_id})

    def reactivate_reward_voucher(self, reward_voucher_id: str) -> None:
        """Give a redeemed voucher back, at most three times (facts 7.1). Raises EngageConflictError."""
        self._call("reactivate_reward_voucher", path={"reward_voucher_id": reward_voucher_id})

    def list_point_accounts(self, contact_id: str) -> models.Page[models.PointAccount]:
        """Return the point accounts of a contact."""
        return self._all("list_point_accounts", {"contactId": contact_id}, schemas.PointAccountSchema)

    def list_point_transactions(
        self, account_id: str, *, offset: int = 0, count: int = PAGE_SIZE
    ) -> models.Page[models.PointTransaction]:
        """Return one page of a point account's changes."""
        query = {"accountId": account_id, "offset": offset, "count": count}
        return self._page("list_point_transactions", query, schemas.PointTransactionSchema, offset)

    # --- set-up data --------------------------------------------------------------------------------------------

    def list_stores(self, *, include_inactive: bool = False) -> tuple[models.Store, ...]:
        """Return the tenant's stores."""
        query = {"includeInactive": "true"} if include_inactive else {}
        return self._page("list_stores", query, schemas.StoreSchema, 0).items

    def list_consents(self) -> tuple[models.ConsentDefinition, ...]:
        """Return the tenant's consent definitions."""
        return self._page("list_consents", {}, schemas.ConsentDefinitionSchema, 0).items

    # --- orders -------------------------------------------------------------------------------------------------

    def create_order(self, order: Mapping[str, Any]) -> models.OrderJob:
        """Hand in an order, in Engage's own names (most fields are not documented, facts 4.1); returns its job."""
        return _job(self._call("create_order", body=dict(order)))

    def get_order(self, order_id: str) -> Mapping[str, Any]:
        """Return a stored order as Engage answers it. Raises EngageNotFoundError."""
        data = self._call("get_order", path={"order_id": order_id}).data
        if not isinstance(data, Mapping):
            raise ContractError("Engage's answer to get_order is no object.", operation="get_order", field="orderId")
        return data

    def list_orders(self, contact_id: str) -> tuple[Mapping[str, Any], ...]:
        """Return the first page of a contact's orders."""
        return tuple(items_of(self._call("list_orders", query={"contactId": contact_id}).data, "list_orders")[0])

    def replace_order(self, order_id: str, order: Mapping[str, Any]) -> models.OrderJob:
        """Replace a whole order; returns its job."""
        return _job(self._call("replace_order", path={"order_id": order_id}, body=dict(order)))

    def delete_order(self, order_id: str) -> models.OrderJob:
        """Delete an order; returns its job."""
        return _job(self._call("delete_order", path={"order_id": order_id}))

    def get_order_job(self, job_id: str) -> models.OrderJob:
        """Return the state of a job; 302 to the order means done."""
        answer = self._call("get_order_job", path={"job_id": job_id}, accept=frozenset({302}))
        return replace(_job(answer, job_id), done=True) if answer.status == 302 else _job(answer, job_id)

    def trigger_order_action(self, order_id: str, action: str, version_tag: str, language: str | None = None) -> None:
        """Have Engage send an order's mail. Raises EngageNotFoundError, also when version_tag is not the current one."""
        body = {"action": action, "versionTag": version_tag, "language": language}
        self._call(
            "trigger_order_action",
            path={"order_id": order_id},
            body={n: v for n, v in body.items() if v is not None},
        )

    def change_order_status(self, order_id: str, change: Mapping[str, Any]) -> models.OrderJob:
        """Change an order's status; returns its job."""
        return _job(self._call("change_order_status", path={"order_id": order_id}, body=dict(change)))

    def change_order_delivery(self, order_id: str, change: Mapping[str, Any]) -> models.OrderJob:
        """Change an order's delivery; returns its job."""
        return _job(self._call("change_order_delivery", path={"order_id": order_id}, body=dict(change)))

    # --- one way out --------------------------------------------------------------------------------------------

    def _call(self, name: str, **options: Any) -> Answer:
        return self._transport.call(
            self.account,
            OPERATIONS[name],
            lane=self._lane,
            read_timeout_s=self._read_timeout_s,
            observer=self._observer,
            **options,
        )

    def _page(
        self, name: str, query: Mapping[str, Any], schema: type[schemas.AnswerSchema], offset: int
    ) -> models.Page[Any]:
        items, total = items_of(self._call(name, query=query).data, name)
        return models.Page(schemas.load_many(schema, items, name), total, offset)

    def _all(self, name: str, query: Mapping[str, Any], schema: type[schemas.AnswerSchema]) -> models.Page[Any]:
        """Read every page. The first request names no page: whether the tenant pages this list is not documented."""
        first = self._page(name, query, schema, 0)
        if first.total_count is None or len(first.items) >= first.total_count:
            return first
        items = list(first.items)
        for page in self._further_pages(name, query, schema, first.total_count, len(items)):
            items.extend(page.items)
        return models.Page(tuple(items), first.total_count)

    def _further_pages(
        self, name: str, query: Mapping[str, Any], schema: type[schemas.AnswerSchema], total: int, have: int
    ) -> Iterator[models.Page[Any]]:
        for _ in range(MAX_PAGES):
            page = self._page(name, {**query, "offset": have, "count": PAGE_SIZE}, schema, have)
            yield page
            have += len(page.items)
            if not page.items or have >= total:
                return

    def _bulk(self, name: str, rows: list[dict[str, Any]], contact_type: str) -> str:
        if not 0 < len(rows) <= BULK_LIMIT:
            raise ValueError(f"A bulk request takes 1 to {BULK_LIMIT} rows, not {len(rows)}.")
        data = self._call(name, query={"contactType": contact_type}, body=rows).data
        batch_id = data.get("batchId") if isinstance(data, Mapping) else data
        if not isinstance(batch_id, str) or not batch_id:
            raise ContractError(f"Engage's answer to {name} has no batch id.", operation=name, field="batchId")
        return batch_id

    def _promotion(self, name: str, **options: Any) -> models.Promotion:
        data = self._call(name, **options).data
        loaded: models.Promotion = schemas.load(schemas.PromotionSchema, data, name)
        return loaded

    def _transaction_page(self, answer: Answer, offset: int) -> models.Page[models.Transaction]:
        items, total = items_of(answer.data, "list_transactions")
        return models.Page(schemas.load_many(schemas.TransactionSchema, items, "list_transactions"), total, offset)

    def _contact_transactions(self, contact_id: str, paging: Mapping[str, int]) -> models.Page[models.Transaction]:
        answer = self._call("list_contact_transactions", path={"contact_id": contact_id}, query=paging)
        return self._transaction_page(answer, paging["offset"])


def _job(answer: Answer, job_id: str | None = None) -> models.OrderJob:
    """Read a job from whatever shape it has (facts 4.1: the fields are not documented)."""
    data = answer.data if isinstance(answer.data, Mapping) else {}
    found = data.get("jobId") or job_id or answer.headers.get("Location", "").rstrip("/").rpartition("/")[2]
    if not found:
        raise ContractError("Engage's answer to an order's write names no job.", operation="order", field="jobId")
    status = str(data.get("status") or "")
    version_tag = data.get("versionTag")
    return models.OrderJob(
        str(found),
        done=status == "Completed",
        failed=status in {"Failed", "CompletedWithErrors"},
        version_tag=str(version_tag) if version_tag else None,
    )


def _batch_status(data: Any) -> models.BatchStatus:
    """Read a batch status, whose fields are not documented (facts 2.9): every plausible name is looked at."""
    if isinstance(data, str):
        return models.BatchStatus(_finished(data), text=data)
    if not isinstance(data, Mapping):
        return models.BatchStatus(None)
    text = next((str(data[name]) for name in ("status", "state") if isinstance(data.get(name), str)), None)
    refused = []
    for name in ("errors", "failed", "rejected"):
        rows = data.get(name)
        for position, row in enumerate(rows if isinstance(rows, list) else []):
            if isinstance(row, Mapping):
                which = next(
                    (row[n] for n in ("index", "row", "key", "contactId", "id") if row.get(n) is not None),
                    position,
                )
                why = next((row[n] for n in ("errorCode", "code", "message", "error") if row.get(n)), "refused")
                refused.append((str(which), str(why)))
            else:
                refused.append((str(position), str(row)))
    return models.BatchStatus(_finished(text), tuple(refused), text)


def _finished(text: str | None) -> bool | None:
    if text is None:
        return None
    word = text.strip().lower()
    if word in {"completed", "completedwitherrors", "done", "finished", "succeeded", "failed"}:
        return True
    return False if word in {"pending", "queued", "running", "processing", "inprogress", "started", "created"} else None
