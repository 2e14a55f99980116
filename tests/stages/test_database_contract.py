"""`Backup` and `Migrate` against the contract, on a real host with PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploykit import Environment, Pipeline
from deploykit import Host as Target
from deploykit.databases import Postgres
from deploykit.secrets import Secret
from deploykit.stage import AnyStage
from deploykit.stages import Backup, Migrate, Pause, Restart, Transfer
from deploykit.testing import Bench, StageContract
from tests.farm import Host
from tests.stages.alembic_project import NICKS, ONE_WAY, USERS, project

PASSWORD = "not-for-journals"
DATABASE = Postgres(Secret.on_host("shared/.env", "DATABASE_URL"))

# Stands for `alembic`, which the host does not have: what it is given, what it does, how it ends.
MIGRATOR = """\
case "$1 $2" in
  'upgrade r2') sql="alter table users add nick text; update users set name = 'gone'" ;;
  'downgrade r1') sql="alter table users drop nick; update users set name = 'ada'" ;;
  *) exit 9 ;;
esac
psql "$DATABASE_URL" -v ON_ERROR_STOP=1 -1 -q -c "$sql" \\
  -c "update alembic_version set version_num = '$2'"
"""

SCHEMA_AND_ROWS = """\
su postgres -c 'pg_dump --restrict-key=same shop' 2>/dev/null || su postgres -c 'pg_dump shop'
find /srv/shop/backups -name '*.part*' 2>/dev/null || :
"""


@pytest.fixture
def database(host: Host) -> Host:
    """A host whose database is at r1, with one row."""
    url = host.postgres(password=PASSWORD)
    host.root("install -d -o deploy -g deploy /srv/shop /srv/shop/shared")
    host.write("/srv/shop/shared/.env", f'DATABASE_URL="{url}"\n', 0o600, "deploy:deploy")
    host.ssh(
        f"""psql "{url}" -q -v ON_ERROR_STOP=1 -c "
        create table users (id int primary key, name text); insert into users values (1, 'ada');
        create table alembic_version (version_num varchar(32) primary key);
        insert into alembic_version values ('r1')" """
    )
    return host


def bench(host: Host, folder: Path, stage: str, *stages: AnyStage, second: str = NICKS) -> Bench:
    """Return the bench of the stage of that name."""
    source = project(folder / "app", USERS, second)
    (source / "migrate.sh").write_text(MIGRATOR)
    target = Target(
        host.ip, user="deploy", identity=str(host.identity), host_key=host.host_key, name=host.name
    )
    pipeline = Pipeline(app="shop", root="/srv/shop", stages=(Transfer("app"), *stages))
    environment = Environment(pipeline, hosts=[target], name="production", project=folder)
    return Bench(environment, stage, lambda: host.root(SCHEMA_AND_ROWS).stdout, secrets=(PASSWORD,))


class TestBackup(StageContract):
    """`Backup`: the verified copy may stay, nothing unfinished does."""

    @pytest.fixture
    def bench(self, database: Host, tmp_path: Path) -> Bench:
        """Return the bench."""
        return bench(database, tmp_path, "backup", Backup(DATABASE, keep=2))


class TestDowngrade(StageContract):
    """`Migrate` that goes back by downgrade."""

    @pytest.fixture
    def bench(self, database: Host, tmp_path: Path) -> Bench:
        """Return the bench."""
        migrate = Migrate("alembic.ini", DATABASE, on_rollback="downgrade", command="sh migrate.sh")
        return bench(database, tmp_path, "migrate", migrate)


class TestRestore(StageContract):
    """`Migrate` that goes back by the backup."""

    @pytest.fixture
    def bench(self, database: Host, tmp_path: Path) -> Bench:
        """Return the bench."""
        database.unit("shop.service", "[Service]\nExecStart=/bin/sleep infinity\n")
        database.sudoers("deploy ALL=(root) NOPASSWD: /usr/bin/systemctl * shop.service")
        migrate = Migrate(
            "alembic.ini",
            DATABASE,
            on_rollback="restore",
            accept_loss=0,
            command="sh migrate.sh",
        )
        stages = (Pause("shop.service"), Backup(DATABASE), migrate, Restart("shop.service"))
        return bench(database, tmp_path, "migrate", *stages, second=ONE_WAY)
