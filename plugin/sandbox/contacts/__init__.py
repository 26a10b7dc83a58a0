"""The sandbox's contacts: rules of their fields, storage, single and bulk operations.

Consent definitions are in `setup_data`.
"""
