"""Alembic's migrations of the label database."""
