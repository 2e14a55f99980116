"""
Scripts by which a host is looked at.

Queries, not calls of the runner: looking must change nothing, and the runner on the host may be
that of another version.
"""

from __future__ import annotations

__all__ = ["ALTERED", "HOLDING", "JOURNALS", "NAMES", "TAKEN", "WORLD"]

# Whether a process has seized a file, as the runner does it with flock and without.
TAKEN = """
taken() {
  if [ -L "$1.by" ]; then
    owner=$(readlink "$1.by")
    kill -0 "${owner%%:*}" 2>/dev/null
  else [ -e "$1" ] && command -v flock >/dev/null && ! flock -s -n "$1" true; fi
}
busy() { # FOLDER: whether the command runs that began last
  IFS= read -r last 2>/dev/null <"$1/gate" && taken "$1/runs/${last%%/*}/output/${last#*/}.running"
}
"""

# Who holds the lock; needs `TAKEN` before it.
HOLDING = """
cd -- {}/lock 2>/dev/null || exit 0
run=$(cat run) || exit 0
beat=$(stat -c %Y heartbeat) || beat=0
here=gone
[ -e alive ] || here=starting
if taken alive; then here=connected; fi
printf '%s\\0%s\\0%s\\0%s\\0' "$run" "$(cat owner.json)" "$(($(date +%s) - beat))" "$here"
"""

JOURNALS = """
cd {}/runs 2>/dev/null || exit 0
cat -- */journal.jsonl 2>/dev/null || :
"""

NAMES = """
cd -- {} 2>/dev/null || exit 0
ls -1A
"""

# Which files of a release are not what its manifest says; nothing where it has none. A name with a
# quotation mark or a backslash stands there in another form, and is passed over.
ALTERED = r"""
cd -- {release} && [ -s {manifest} ] && command -v sha256sum >/dev/null || exit 0
sed -n 's/^\["\([^\\]*\)", "file", [0-9]*, [0-9]*, "\([0-9a-f]*\)", ""\]$/\2  .\/\1/p' {manifest} |
  LC_ALL=C sha256sum -c 2>/dev/null | grep -v ': OK$' || :
"""

# Where a link points, the ledger, which runs have no end, and the variables of a file.
WORLD = """
readlink {link} || :
printf '\\0'
cat {ledger} 2>/dev/null || :
printf '\\0'
cd {runs} 2>/dev/null && grep -sLE {ended} */journal.jsonl
printf '\\0'
"""
