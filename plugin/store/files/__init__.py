"""Fallback files and the events in them.

Writing and sending files is in `webhooks.fallback`.
"""
