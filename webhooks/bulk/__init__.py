"""Waiting profile changes merged per contact and sent through Engage's bulk API.

Single events go through `processing`.
"""
