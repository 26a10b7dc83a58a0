"""Links from customers to contacts, what Engage was last sent, the consent ledger, and named locks.

Erasure is in `privacy`.
"""
