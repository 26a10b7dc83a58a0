"""Authentication of shoppers: hand-over tokens, session cookies, proxies of platforms, CSRF tokens.

A platform's own tokens and signatures are verified in its folder under `plugin.platforms`.
"""
