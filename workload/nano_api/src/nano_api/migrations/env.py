"""Runs the migrations on the connection that nano_api.schema hands over, inside its transaction."""

from alembic import context

from nano_api.models import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
