"""Alembic's entry: runs migrations on the connection it is given, inside its transaction."""

from alembic import context

from labeling_app.store.models import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, transactional_ddl=True
)
context.run_migrations()
