"""What monitoring, backfills and reconciliations remember between their runs.

The runs themselves are in `webhooks.sync`.
"""
