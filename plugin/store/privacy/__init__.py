"""Erasure of a person or of a whole shop, and what is stored of one person.

Deleting in Engage is the handlers' part.
"""
