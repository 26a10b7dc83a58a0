"""Orders, redemption intents, and promotions that were created or assigned here.

Receipts in files are in `files`.
"""
