"""The operations of Engage by noun: one method each, combined in `plugin.engage.client`.

How a request travels is in `http`, what it carries in `data`.
"""
