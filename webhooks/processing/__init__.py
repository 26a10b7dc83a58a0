"""The work loop: wake-ups, claims, and one attempt at one event from its mapping to its outcome; and previews of it.

What an event means is decided in `handlers`; what an attempt may use is in `attempt`.
"""
