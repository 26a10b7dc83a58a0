"""The commands of `engage-plugin`, one module a group.

They print and ask; what they do is in `services` and the packages that these put together.
"""
