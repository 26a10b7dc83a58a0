"""From a shop's webhook to Engage: receiving stores it, processing works it off, handlers decide what it means.

Packages depend on each other in one direction only; the layers contract in pyproject.toml names it. No SQL, no platform names.
"""
