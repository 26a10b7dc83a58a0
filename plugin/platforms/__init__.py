"""Shop platforms: a package for each with all that is particular to it, and what they share.

Not in it: the inbox, HTTP responses to webhooks, and calls to Engage.
"""
