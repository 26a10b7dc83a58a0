"""Processes of the plugin: supervisor, loops, web server, embedded Redis, checks before the start, logs.

What the processes do is in `services`, `webhooks` and `mypages`.
"""
