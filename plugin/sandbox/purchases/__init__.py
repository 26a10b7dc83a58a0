"""The sandbox's receipts, orders and imported files.

Points that come of receipts are in `loyalty`.
"""
