"""Links from customers to contacts, what Engage was last sent, the consent ledger, and what a shopper's pages depend on.

Orders are in `orders`, the erasure of a person in `privacy`, locks in `plugin.store.locks`.
"""
