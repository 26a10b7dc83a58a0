"""My Pages: what a logged-in shopper sees of Engage under the shop's name."""
