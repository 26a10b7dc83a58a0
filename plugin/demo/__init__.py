"""A demonstration on one machine: an invented shop, a stand-in for Engage, and the plugin between them.

Not part of a production installation: it comes with the extra `sandbox`.
"""
