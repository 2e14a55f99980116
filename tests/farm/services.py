"""Services that every host has installed and that a test starts when it needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.farm.host import Host


def postgres(host: Host, database: str, user: str, password: str) -> str:
    """Start PostgreSQL on *host*, make the role and its database, and return their URL."""
    host.root("systemctl start postgresql@15-main")
    host.root(
        "runuser -u postgres -- psql -qX --set ON_ERROR_STOP=1",
        input=f"""
        SELECT format('CREATE ROLE %I LOGIN', '{user}')
            WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{user}') \\gexec
        ALTER ROLE "{user}" PASSWORD '{password}';
        DROP DATABASE IF EXISTS "{database}" WITH (FORCE);
        CREATE DATABASE "{database}" OWNER "{user}";
        """,
    )
    return f"postgresql://{user}:{password}@{host.ip}:5432/{database}"


def mariadb(host: Host, database: str, user: str, password: str) -> str:
    """Start MariaDB on *host*, make the user and its database, and return their URL."""
    host.root("systemctl start mariadb")
    host.root(
        "mariadb",
        input=f"""
        DROP DATABASE IF EXISTS `{database}`;
        CREATE DATABASE `{database}` CHARACTER SET utf8mb4;
        CREATE OR REPLACE USER '{user}'@'%' IDENTIFIED BY '{password}';
        GRANT ALL ON `{database}`.* TO '{user}'@'%';
        """,
    )
    return f"mysql://{user}:{password}@{host.ip}:3306/{database}"


def nginx(host: Host, conf: str) -> None:
    """Make *conf* the one site of nginx on *host* and start or reload nginx."""
    host.write("/etc/nginx/conf.d/site.conf", conf)
    host.root("nginx -tq && systemctl reload-or-restart nginx")
