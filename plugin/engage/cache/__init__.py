"""Cached reads for My Pages: encrypted answers, one call in flight per key.

Writes never go through here.
"""
