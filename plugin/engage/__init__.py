"""Voyado Engage: every path, header, field and rule of its API stands in this package."""
