"""Who asks: shoppers by short-lived tokens, the shop's own servers by API tokens.

Shoppers' sessions on My Pages are in `mypages.auth`.
"""
