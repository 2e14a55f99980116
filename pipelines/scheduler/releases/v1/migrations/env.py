"""Run the migrations on the database that DATABASE_URL names, all of them or none."""

from alembic import context

from scheduler.database import open_engine
from scheduler.models import metadata

# SQLite cannot alter a column, so a table is written anew and takes the old one's name; the
# rows that refer to it must not be looked at while it is away.
engine = open_engine(foreign_keys=False)

with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()

engine.dispose()
