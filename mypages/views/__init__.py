"""What a page shows: view models and how they are built, formats, language, theme, edits.

No request and no call to Engage is here.
"""
