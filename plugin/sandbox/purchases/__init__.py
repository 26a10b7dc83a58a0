"""The sandbox's receipts and imported files.

Points that come of receipts are in `loyalty`.
"""
