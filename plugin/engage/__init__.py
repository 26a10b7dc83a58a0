"""Voyado Engage: every path, header, field and rule of its API is in this package.

Nothing here knows shops' platforms, the database or what an event means.
"""
