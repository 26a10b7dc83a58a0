"""Every operation of the contract that the sandbox answers: all of them."""

from plugin.sandbox import setup_data
from plugin.sandbox.contacts import bulk, operations
from plugin.sandbox.loyalty import assignments, points, templates, vouchers
from plugin.sandbox.purchases import receipts
from plugin.sandbox.wire import Operation

OPERATIONS: tuple[Operation, ...] = (
    *operations.OPERATIONS,
    *bulk.OPERATIONS,
    *receipts.OPERATIONS,
    *assignments.OPERATIONS,
    *templates.OPERATIONS,
    *vouchers.OPERATIONS,
    *points.OPERATIONS,
    *setup_data.OPERATIONS,
)
OPERATION_IDS = frozenset(operation.operation_id for operation in OPERATIONS)
