"""Files for outages of Engage: which events go into them, and how they are written, sent and recalled.

The file formats and the transfers are in `plugin.engage_files`.
"""
