"""What one attempt at an event works with: its context, recorded progress, mapping and enrichment.

No decision about contacts, orders or consents: those are packages of their own above this one.
"""
