"""An order's receipts, refund lines, state and record.

Promotions and vouchers that an order uses are in `webhooks.redemption`.
"""
