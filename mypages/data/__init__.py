"""Data: parallel queries to Engage, sanitising of its answers, and the cache of rendered pages.

View models and HTML are not here, but in `mypages.views` and `mypages.http`.
"""
