"""The engine for SQLite and PostgreSQL, transactions, group commit, column types and migrations.

No table and no query of the product is here.
"""
