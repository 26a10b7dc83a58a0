"""SQL: the inbox, contact links, shops and all else that must survive a restart. All SQL of the product is here.

Decisions about events, contacts and orders are in `webhooks`.
"""
