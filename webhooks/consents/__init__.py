"""Opt-ins and opt-outs: the dated ledger, and the plain and timestamped consent fields of contacts.

Other attributes of a contact are in `contacts`.
"""
