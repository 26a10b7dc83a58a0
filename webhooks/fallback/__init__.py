"""Files for an Engage that stays away: which events go into them, how they are written, sent and taken back.

The formats and transfers themselves are in `plugin.engage_files`.
"""
