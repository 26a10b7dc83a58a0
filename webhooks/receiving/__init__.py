"""From an HTTP request to one committed inbox row: verification, limits, the row, the answer.

Nothing here calls Engage or reads a body further than a platform's `peek` does.
"""
