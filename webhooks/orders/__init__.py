"""An order's receipts, refund lines and state, as they go to Engage.

Promotions and vouchers that an order uses are in `redemption`.
"""
