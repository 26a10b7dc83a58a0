"""Promotions for the merchant and for the checkout: created, assigned, offered and checked before payment."""
