"""What is read from the shop later: missed changes, history, and the comparison of shop, inbox and Engage.

Everything found here goes through the same inbox as webhooks.
"""
