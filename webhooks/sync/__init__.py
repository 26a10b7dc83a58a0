"""What is read from a shop beside its webhooks: missed changes, its history, and the data for a reconciliation.

Everything read goes through the same inbox as webhooks; receiving those is in `webhooks.receiving`.
"""
