"""The sandbox's promotions, assignments, reward vouchers and points.

Receipts that name them are in `purchases`.
"""
