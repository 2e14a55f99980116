"""The shell and SQL that work on a MariaDB or MySQL database."""

from __future__ import annotations

__all__ = ["ASK", "CLIENT", "DUMP", "FUNCTION", "INSPECT", "RESTORE", "SCHEMA", "VERIFY"]

CLIENT = """\
client=$(command -v mariadb || command -v mysql) || exit 10
"""

_ASK = '"$client" {words} --connect-timeout=10 --batch --skip-column-names --raw'
ASK = f"{_ASK} --execute={{query}} -- {{name}}\n"
FUNCTION = f'ask() {{{{ {_ASK} --execute="$1" -- {{name}}; }}}}\n'

INSPECT = """\
server=$(ask 'select version()') || exit 11
tool=$(command -v mariadb-dump || command -v mysqldump) || exit 12
ask 'show events' >/dev/null || exit 13
version=$("$tool" --version)
version=${{version#*Ver }}
version=${{version#*Distrib }}
version=${{version%%[, ]*}}
size=$(ask 'select coalesce(sum(data_length + index_length), 0) from information_schema.tables
  where table_schema = database()') || exit 11
printf '%s\\n' "$tool" "$version" "$server" "$size"
ask "select concat('table ', table_name, ' (', engine, ') is dumped without a snapshot')
  from information_schema.tables
  where table_schema = database() and table_type = 'BASE TABLE' and engine <> 'InnoDB'" || exit 11
"""

# sh has no pipefail: "whole" is said only by a dump tool that ended well.
DUMP = """\
only_mysql=
case $({tool} --version) in
  *MariaDB*) ;;
  *) only_mysql='--set-gtid-purged=OFF --loose-column-statistics=0' ;;
esac
whole=$({{
  {{
    {tool} {words} $only_mysql --single-transaction --quick --routines --events --triggers \\
      --hex-blob --no-tablespaces --comments -- {name} && echo yes >&3
  }} | gzip -c >{path}
}} 3>&1) || exit 41
[ "$whole" = yes ] && [ -s {path} ] || exit 41
"""

VERIFY = """\
gzip -t -- {path} || exit 42
last=$(gzip -dc -- {path} | tail -n 1)
case $last in '-- Dump completed'*) ;; *) exit 42 ;; esac
"""

RESTORE = """\
gzip -t -- {path}
drops=$(ask "
  select concat(if(table_type = 'VIEW', 'drop view if exists \\`', 'drop table if exists \\`'),
      replace(table_name, '\\`', '\\`\\`'), '\\`;')
    from information_schema.tables where table_schema = database()
  union all
  select concat('drop ', routine_type, ' if exists \\`',
      replace(routine_name, '\\`', '\\`\\`'), '\\`;')
    from information_schema.routines where routine_schema = database()
  union all
  select concat('drop event if exists \\`', replace(event_name, '\\`', '\\`\\`'), '\\`;')
    from information_schema.events where event_schema = database()")
{{
  printf 'set foreign_key_checks = 0;\\n%s\\n' "$drops"
  gzip -dc -- {path}
}} | "$client" {words} --batch -- {name}
"""

SCHEMA = """\
select line from (
  select concat('column ', table_name, '.', column_name, ' ', column_type, ' ', is_nullable, ' ',
    coalesce(column_default, ''), ' ', extra) as line, table_name as place
  from information_schema.columns where table_schema = database()
  union all
  select concat('index ', table_name, '.', index_name, ' ', non_unique, ' ',
    group_concat(column_name order by seq_in_index)), table_name
  from information_schema.statistics where table_schema = database()
  group by table_name, index_name, non_unique
  union all
  select concat('constraint ', table_name, '.', constraint_name, ' ', constraint_type), table_name
  from information_schema.table_constraints where table_schema = database()
) as everything
where place <> :version_table order by line
"""
