"""The manifest, and the service behind every platform's installation pages.

What a platform asks during installation is in its own folder.
"""
