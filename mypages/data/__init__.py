"""What a page needs: questions to Engage, side by side, and the cache of built pages.

Nothing here knows HTML.
"""
