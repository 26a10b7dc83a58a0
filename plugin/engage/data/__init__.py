"""Engage's nouns as dataclasses, and their JSON in both directions.

The only place with camelCase names.
"""
