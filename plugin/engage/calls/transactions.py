"""Receipts in, purchase history out."""

from collections.abc import Mapping

from plugin.engage.calls.base import PAGE_SIZE, Calls
from plugin.engage.data import models, request_bodies, schemas
from plugin.engage.data.receipts import Receipt
from plugin.engage.http.http_errors import Answer, items_of
from plugin.errors import EngageNotFoundError


class TransactionCalls(Calls):
    """Operations on receipts and transactions."""

    def create_receipt(self, receipt: Receipt) -> None:
        """Send a receipt. Engage imports it later, and ignores an id that it has seen
        (docs/engage.md#import-delay-and-duplicates).
        """
        self._call("create_receipt", body=request_bodies.receipt_body(receipt, self.account.voucher_field))

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

    def _transaction_page(self, answer: Answer, offset: int) -> models.Page[models.Transaction]:
        items, total = items_of(answer.data, "list_transactions")
        return models.Page(schemas.load_many(schemas.TransactionSchema, items, "list_transactions"), total, offset)

    def _contact_transactions(self, contact_id: str, paging: Mapping[str, int]) -> models.Page[models.Transaction]:
        answer = self._call("list_contact_transactions", path={"contact_id": contact_id}, query=paging)
        return self._transaction_page(answer, paging["offset"])
