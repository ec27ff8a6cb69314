"""The store: subjects, sources, descriptors, blocks and tokens in one SQL database. SQL and drivers stop here.

`store.Store` is the way in; its docstrings are the contract that every engine keeps (`tests/conformance`). Beneath it
is one module per aggregate, written once as functions of a SQLAlchemy `Connection`, and one `database.Database` per
engine in `dialects/`, which runs such functions as transactions and holds the few statements that must be fast.
"""
