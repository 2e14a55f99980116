"""The shell, Python and SQL that work on an SQLite database."""

from __future__ import annotations

__all__ = ["ASK", "DUMP", "INSPECT", "PYTHON", "READY", "RESTORE", "SCHEMA", "VERIFY"]

# Runs on the host, under whatever Python 3 it has: DOES FILE [OTHER]
PYTHON = """\
import pathlib, sqlite3, sys

does, file = sys.argv[1:3]
def connect(path, mode):
    uri = pathlib.Path(path).absolute().as_uri() + "?mode=" + mode
    return sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None)

if does == "ask":
    for row in connect(file, "ro").execute(sys.argv[3]):
        print("" if row[0] is None else row[0])
elif does == "dump":
    copy = connect(sys.argv[3], "rwc")
    connect(file, "ro").backup(copy, pages=-1)
    copy.execute("pragma journal_mode = delete")
    copy.close()
elif does == "restore":
    whole = connect(file, "rw")
    connect(sys.argv[3], "ro").backup(whole, pages=-1)
    whole.close()
else:
    print(sqlite3.sqlite_version)
"""

ASK = """\
[ -e {file} ] || exit 0
if command -v sqlite3 >/dev/null; then
  sqlite3 -batch -noheader -readonly -init /dev/null -cmd '.timeout 30000' {file} {query}
else
  command -v python3 >/dev/null || exit 10
  python3 -I -c {python} ask {file} {query}
fi
"""

READY = """\
file={file}
folder=$(dirname -- "$file")
# Before the first deploy the folder may be missing: Transfer makes it where its parent allows that.
while [ ! -e "$folder" ]; do folder=$(dirname -- "$folder"); done
command -v sqlite3 >/dev/null || command -v python3 >/dev/null || exit 10
[ -w "$folder" ] && [ -x "$folder" ] || exit 14
[ ! -e "$file" ] || [ -w "$file" ] || exit 14
"""

INSPECT = """\
if tool=$(command -v sqlite3); then version=$("$tool" --version); version=${{version%% *}}
elif tool=$(command -v python3); then version=$("$tool" -I -c {python} version -)
else exit 10
fi
file={file}
folder=${{file%/*}}
while [ -n "$folder" ]; do
  if [ -e "$folder" ]; then [ -x "$folder" ] && break; fi
  [ ! -e "$folder" ] || exit 13
  folder=${{folder%/*}}
done
[ -e "$file" ] || exit 15
[ -r "$file" ] || exit 13
case $tool in
  *sqlite3) set -- -batch -readonly -init /dev/null -cmd '.timeout 30000' ;;
  *) set -- -I -c {python} ask ;;
esac
"$tool" "$@" "$file" 'select count(*) from sqlite_master' >/dev/null || exit 11
size=$(stat -c %s -- "$file")
if [ -e "$file-wal" ]; then size=$((size + $(stat -c %s -- "$file-wal"))); fi
printf '%s\\n' "$tool" "$version" "$version" "$size"
"""

DUMP = {
    "sqlite3": """\
{tool} -batch -readonly -init /dev/null -cmd '.timeout 30000' {file} {into} || exit 41
[ -s {path} ] || exit 41
""",
    "python": """\
{tool} -I -c {python} dump {file} {path} || exit 41
[ -s {path} ] || exit 41
""",
}

VERIFY = {
    "sqlite3": """\
said=$({tool} -batch -readonly -init /dev/null {path} 'pragma integrity_check') || exit 42
[ "$said" = ok ] || {{ printf '%s\\n' "$said" >&2; exit 42; }}
""",
    "python": """\
said=$({tool} -I -c {python} ask {path} 'pragma integrity_check') || exit 42
[ "$said" = ok ] || {{ printf '%s\\n' "$said" >&2; exit 42; }}
""",
}

RESTORE = {
    "sqlite3": """\
{tool} -bail -batch -init /dev/null -cmd '.timeout 30000' {file} {dot}
""",
    "python": "{tool} -I -c {python} restore {file} {path}\n",
}

# Not by the text in sqlite_master: a table written anew by a batch operation is spelt otherwise.
SCHEMA = """\
with tables as (
  select name from sqlite_master
  where type = 'table' and name not like 'sqlite\\_%' escape '\\' and name <> :version_table
)
select 'column ' || t.name || '.' || c.name || ' ' || upper(c.type) || ' ' || c."notnull" || ' ' ||
    coalesce(c.dflt_value, '') || ' ' || (c.pk > 0) as line
  from tables t, pragma_table_info(t.name) c
union all
select 'index ' || t.name || ' ' || i.origin || ' ' || i."unique" || ' ' ||
    (select group_concat(coalesce(name, '()')) from pragma_index_info(i.name))
  from tables t, pragma_index_list(t.name) i
union all
select 'reference ' || t.name || '.' || f."from" || ' ' || f."table" || ' ' || f.on_delete
  from tables t, pragma_foreign_key_list(t.name) f
union all
select type || ' ' || name || ' ' || coalesce(sql, '') from sqlite_master
  where type in ('view', 'trigger') and tbl_name <> :version_table
order by line
"""
