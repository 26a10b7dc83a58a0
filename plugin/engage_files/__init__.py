"""Import files for Engage: XML written in constant memory, and the transfers that take the files to Engage.

Which events go into files, and when files are sent, is decided in `webhooks.fallback`.
"""
