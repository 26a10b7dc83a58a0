"""Who the shopper is: hand-over tokens, platform proofs, session cookies, CSRF tokens.

Verifying a platform's own proof is in its folder under `plugin.platforms`.
"""
