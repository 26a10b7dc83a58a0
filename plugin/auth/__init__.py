"""Authentication of shoppers by short-lived tokens, and of the shop's own servers by API tokens.

Shoppers' sessions on My Pages are in `mypages.auth`.
"""
