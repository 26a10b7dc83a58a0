"""Every operation of the contract that the sandbox answers: all of them."""

from plugin.sandbox import assignments, bulk, contacts, orders, points, receipts, setup_data, templates, vouchers
from plugin.sandbox.wire import Operation

OPERATIONS: tuple[Operation, ...] = (
    *contacts.OPERATIONS,
    *bulk.OPERATIONS,
    *receipts.OPERATIONS,
    *orders.OPERATIONS,
    *assignments.OPERATIONS,
    *templates.OPERATIONS,
    *vouchers.OPERATIONS,
    *points.OPERATIONS,
    *setup_data.OPERATIONS,
)
OPERATION_IDS = frozenset(operation.operation_id for operation in OPERATIONS)
