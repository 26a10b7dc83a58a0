"""What a page shows: view models and their builder, formatting, language, theme, and the validation of edits.

Requests are handled in `mypages.http`, queries to Engage are in `mypages.data`.
"""
