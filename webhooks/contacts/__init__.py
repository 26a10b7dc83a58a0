"""Which contact a customer is, and the changes of its attributes.

Consents and orders are not here.
"""
