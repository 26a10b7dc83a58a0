"""Registered shops, their settings and secrets, installations and tokens.

Erasing a shop is in `privacy`.
"""
