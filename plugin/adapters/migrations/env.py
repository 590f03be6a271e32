"""Alembic's environment: runs on the connection that sql_store.migrate hands over."""

from alembic import context

from plugin.adapters.sql_schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
