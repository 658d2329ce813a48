"""The steps from one format of the ledger's tables to the next, as Alembic revisions.

A revision is named for the format that it leads to. They run only when somebody asks for it
(`clearmark db upgrade`), never when a ledger is opened.
"""
