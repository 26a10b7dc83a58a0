"""Promotions for the merchant and for the checkout: created, assigned, offered and checked before payment.

Not in it: redeeming what a paid order used (`webhooks.redemption`), and the HTTP addresses (`plugin.api`).
"""
