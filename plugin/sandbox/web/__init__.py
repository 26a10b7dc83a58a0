"""The sandbox over HTTP: server, requests, its own paths and its page.

What an operation does is in the packages beside it.
"""
