"""The inbox: accepting, claiming, recording progress, sweeping, bulk claims, and what an operator sees and does.

What an event means is not known here.
"""
