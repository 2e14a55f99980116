"""The shell and SQL that work on a PostgreSQL database."""

from __future__ import annotations

__all__ = ["DUMP", "INSPECT", "PSQL", "RESTORE", "SCHEMA", "VERIFY"]

PSQL = """\
psql=$(command -v psql || ls /usr/lib/postgresql/*/bin/psql 2>/dev/null | sort -V | tail -n 1)
[ -n "$psql" ] || exit 10
"""

# A dump loads only into a server of pg_dump's own version or a later one, and pg_dump reads no
# later server: so the majors must be equal.
INSPECT = """\
ask() { "$psql" -XAtq -v ON_ERROR_STOP=1 -c "$1"; }
number=$(ask "select current_setting('server_version_num')") || exit 11
major=$((number / 10000))
tool=
for candidate in "/usr/lib/postgresql/$major/bin/pg_dump" "/usr/pgsql-$major/bin/pg_dump" \\
  "$(command -v pg_dump)"; do
  [ -x "$candidate" ] && [ -x "${candidate%/*}/pg_restore" ] || continue
  version=$("$candidate" --version) || continue
  version=${version#*) }
  version=${version%% *}
  if [ "${version%%.*}" = "$major" ]; then tool=$candidate; break; fi
done
[ -n "$tool" ] || { echo "$major"; exit 12; }
server=$(ask "select current_setting('server_version')") || exit 11
size=$(ask "select pg_database_size(current_database())") || exit 11
printf '%s\\n' "$tool" "$version" "$server" "$size"
"""

DUMP = """\
{tool} --format=custom --compress=6 --no-password --lock-wait-timeout=60s --file={path} || exit 41
[ -s {path} ] || exit 41
"""

VERIFY = "{tool} --file=/dev/null {path} || exit 42\n"

# What an extension owns stays, and so do the extensions: only a superuser may make most of them.
RESTORE = """\
if [ -x {folder}/psql ]; then psql={folder}/psql; fi
drops=$("$psql" -XAtq -v ON_ERROR_STOP=1 <<'SQL'
with mine as (
  select n.oid, n.nspname from pg_namespace n
  where n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
    and not exists (select 1 from pg_depend d
      where d.classid = 'pg_namespace'::regclass and d.objid = n.oid and d.deptype = 'e')
)
select format('drop schema if exists %I cascade;', nspname) from mine where nspname <> 'public'
union all
select format('drop %s if exists public.%I cascade;',
    case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence'
      when 'f' then 'foreign table' else 'table' end, c.relname)
  from pg_class c join mine on mine.oid = c.relnamespace
  where nspname = 'public' and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
    and not exists (select 1 from pg_depend d
      where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
union all
select format('drop %s if exists %s cascade;',
    case p.prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end,
    p.oid::regprocedure)
  from pg_proc p join mine on mine.oid = p.pronamespace
  where nspname = 'public'
    and not exists (select 1 from pg_depend d
      where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
union all
select format('drop type if exists public.%I cascade;', t.typname)
  from pg_type t join mine on mine.oid = t.typnamespace
  where nspname = 'public'
    and (t.typtype in ('e', 'd', 'r')
      or t.typtype = 'c' and exists (select 1 from pg_class c
        where c.oid = t.typrelid and c.relkind = 'c'))
    and not exists (select 1 from pg_depend d
      where d.classid = 'pg_type'::regclass and d.objid = t.oid and d.deptype = 'e')
union all
select format('select lo_unlink(%s);', oid) from pg_largeobject_metadata;
SQL
)
contents=$({tool} --list {path} | grep -v \\
  -e '^[^;]* EXTENSION - ' -e '^[^;]*; [0-9]* [0-9]* COMMENT - EXTENSION ' \\
  -e '^[^;]*; [0-9]* [0-9]* SCHEMA - public ' -e ' COMMENT - SCHEMA public ' \\
  -e ' ACL - SCHEMA public ')
list=$(mktemp)
trap 'rm -f -- "$list"' EXIT
printf '%s\\n' "$contents" >"$list"
# Only a dump that was read to its end is committed: what broke off ends without `commit`.
whole=$({{
  {{
    printf 'begin;\\n%s\\n' "$drops"
    {tool} --no-owner --use-list="$list" --file=- {path} && printf 'commit;\\n' && echo yes >&3
  }} | "$psql" -Xq -v ON_ERROR_STOP=1 >&2
}} 3>&1)
[ "$whole" = yes ]
"""

SCHEMA = """\
select line from (
  select format('column %s.%s.%s %s %s %s', n.nspname, c.relname, a.attname,
      format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)) as line,
    n.nspname, c.relname
  from pg_attribute a join pg_class c on c.oid = a.attrelid
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'v', 'm', 'f')
  union all
  select 'index ' || pg_get_indexdef(i.indexrelid), n.nspname, c.relname
  from pg_index i join pg_class c on c.oid = i.indrelid
  join pg_namespace n on n.oid = c.relnamespace
  union all
  select format('constraint %s on %s.%s: %s', k.conname, n.nspname, c.relname,
      pg_get_constraintdef(k.oid)), n.nspname, c.relname
  from pg_constraint k join pg_class c on c.oid = k.conrelid
  join pg_namespace n on n.oid = c.relnamespace
  union all
  select format('type %s.%s: %s', n.nspname, t.typname,
      string_agg(e.enumlabel, ',' order by e.enumsortorder)), n.nspname, t.typname
  from pg_type t join pg_enum e on e.enumtypid = t.oid
  join pg_namespace n on n.oid = t.typnamespace
  group by n.nspname, t.typname
) as everything
where nspname <> 'information_schema' and nspname !~ '^pg_' and relname <> :version_table
order by line collate "C"
"""
