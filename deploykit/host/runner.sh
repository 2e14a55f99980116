#!/bin/sh
# deploykit's runner: the only thing on a host that writes deploykit's records and starts its
# commands. It needs sh, coreutils, awk, flock and setsid.
#
#   sh runner.sh ROOT VERB [ARGUMENT...]      input on stdin
#
# Answers are lines on stderr that begin with byte 1, so that nothing a login shell prints can be
# taken for one; what stands on stdout before byte 1 and "deploykit" is such a banner too.
#
# Two locks: `mutex` is held for moments, around records, epoch and lock; `gate` is held by a
# changing command for as long as it runs, so that never two run on one host.
set -u
root=$1 verb=$2
shift 2
dk=$root/.deploykit
umask 077
printf '\001deploykit\n'

answer() { printf '\001deploykit %s\n' "$*" >&2; }
refuse() { answer "$@"; exit 0; }

# GNU sync flushes one file; where it cannot, everything is flushed.
flush() { sync "$1" 2>/dev/null || sync; }

mutex() { exec 8>>"$dk/mutex" && flock 8; }
mutex_free() { exec 8>&-; }

epoch() { cat "$dk/epoch" 2>/dev/null || echo 0; }
lock_run() { cat "$dk/lock/run" 2>/dev/null; }

# Read stdin into file $1, whose first line names the sha256 of the rest: a message that was cut on
# its way must never be acted upon.
receive() {
  IFS= read -r want || want=
  cat >"$1" || refuse failed "cannot write $1 (disk full?)"
  have=$(sha256sum <"$1")
  [ "${have%% *}" = "$want" ]
}

# Append the JSON objects in file $2, a line each, to the records in $1, with version, number and
# time put first. A torn last line, which only the host's own death leaves, is ended before.
record() {
  if [ -s "$1" ] && [ -n "$(tail -c 1 "$1")" ]; then echo >>"$1" || return 1; fi
  count=0
  if [ -e "$1" ]; then count=$(wc -l <"$1"); else fresh=1; fi
  awk -v n="$count" -v at="$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
    '{ print "{\"v\":1,\"seq\":" (n + NR) ",\"at\":\"" at "\"," substr($0, 2) }' \
    <"$2" >>"$1" || return 1
  flush "$1"
  if [ -n "${fresh:-}" ]; then flush "$(dirname "$1")"; fi
}

# The receipt of command $id of run $run: prints never | began DIGEST | ended RC [stopped].
receipt() {
  journal=$dk/runs/$run/journal.jsonl
  [ -e "$journal" ] || { echo never; return; }
  mine=$(grep -F "\"id\":\"$id\"" "$journal")
  ended=$(printf '%s\n' "$mine" | grep -F '"kind":"ended"' | tail -n 1)
  began=$(printf '%s\n' "$mine" | grep -F '"kind":"began"' | tail -n 1)
  digest=$(printf '%s\n' "$began" | sed -n 's/.*"digest":"\([0-9a-f]*\)".*/\1/p')
  if [ -n "$ended" ]; then
    rc=$(printf '%s\n' "$ended" | sed -n 's/.*"rc":\([0-9]*\).*/\1/p')
    case $ended in *'"stopped":true'*) stopped=stopped ;; *) stopped=ran ;; esac
    echo "ended ${rc:-1} $stopped $digest"
  elif [ -n "$began" ]; then echo "began $digest"
  else echo never; fi
}

# Copy the output of $id to stdout as it grows, until the command is over; then answer how it ended.
follow() {
  sent=0
  while :; do
    if flock -s -w 0.25 "$files/$id.running" true; then over=1; else over=; fi
    size=$(wc -c <"$files/$id.out" 2>/dev/null || echo 0)
    if [ "$size" -gt "$sent" ]; then
      tail -c "+$((sent + 1))" "$files/$id.out" | head -c "$((size - sent))"
      sent=$size
    fi
    [ -n "$over" ] && break
  done
  set -- $(receipt)
  case $1 in
    ended) refuse ended "$2" "$3" ;;
    began) refuse torn ;;
    *) refuse never ;;
  esac
}

case $verb in
append) # FILE: put lines into FILE (relative to .deploykit)
  file=$dk/$1
  mkdir -p "$(dirname "$file")" || refuse failed "cannot make the folder of $1"
  lines=$dk/.append.$$
  trap 'rm -f "$lines"' EXIT
  receive "$lines" || refuse cut
  mutex
  record "$file" "$lines" || refuse failed "cannot write $1"
  mutex_free
  touch -c "$dk/lock/heartbeat"
  refuse appended
  ;;

lock) # RUN LEAST: take the lock, with an epoch of at least LEAST; stdin is its owner, a JSON object
  run=$1 least=$2
  owner=$dk/.owner.$$
  trap 'rm -rf "$owner"' EXIT
  mkdir -p "$owner" || refuse failed "cannot write in $dk"
  receive "$owner/owner.json" || refuse cut
  printf '%s\n' "$run" >"$owner/run" && touch "$owner/heartbeat" || refuse failed "cannot write in $dk"
  mutex
  if [ -d "$dk/lock" ] && [ "$(lock_run)" != "$run" ]; then refuse held; fi
  next=$(($(epoch) + 1))
  [ "$next" -ge "$least" ] || next=$least
  echo "$next" >"$dk/epoch.new" && flush "$dk/epoch.new" && mv -f "$dk/epoch.new" "$dk/epoch" \
    || refuse failed "cannot write in $dk"
  taken=again
  if [ ! -d "$dk/lock" ]; then
    flush "$owner/owner.json"
    mv "$owner" "$dk/lock" || refuse failed "cannot write in $dk"
    taken=new
  fi
  flush "$dk"
  refuse locked "$next" "$taken"
  ;;

hold) # RUN: stand for the controller: a line on stdin is its heartbeat, the end of stdin its end
  run=$1
  [ "$(lock_run)" = "$run" ] || refuse notmine
  exec 6>>"$dk/lock/alive"
  flock -w 5 6 || refuse busy
  while IFS= read -r _; do
    [ "$(lock_run)" = "$run" ] && touch -c "$dk/lock/heartbeat"
  done
  refuse ended
  ;;

unlock) # RUN: free the lock if RUN holds it
  run=$1
  mutex
  if [ "$(lock_run)" = "$run" ]; then
    rm -rf "$dk/unlocked" && mv "$dk/lock" "$dk/unlocked" && rm -rf "$dk/unlocked"
    flush "$dk"
    refuse unlocked
  fi
  refuse notmine
  ;;

exec) # RUN ID EPOCH: stdin is sha256, the record's JSON, then the script
  run=$1 id=$2 mine=$3
  files=$dk/runs/$run/output
  mkdir -p "$files" || refuse failed "cannot make $files"
  message=$files/$id.in.$$
  payload=$files/$id.sh
  trap 'rm -f "$message" "$payload.$$"' EXIT
  receive "$message" || refuse cut
  digest=$(head -n 1 "$message" | sed -n 's/.*"digest":"\([0-9a-f]*\)".*/\1/p')
  exec 7>>"$files/$id.running"
  if ! flock -n 7; then
    exec 7>&-
    follow
  fi
  set -- $(receipt)
  case $1 in
    ended)
      [ "$4" = "$digest" ] || refuse changed
      cat "$files/$id.out"
      refuse ended "$2" "$3"
      ;;
    began)
      [ "$2" = "$digest" ] || refuse changed
      rm -f "$payload"
      refuse torn
      ;;
  esac
  exec 9>>"$dk/gate"
  flock -n 9 || refuse busy
  [ "$(epoch)" = "$mine" ] || refuse fenced "$(epoch)"
  # The file removes itself as its first act: it holds secrets, and lives for moments.
  { echo 'rm -f -- "$0"'; tail -n +2 "$message"; } >"$payload.$$" && mv -f "$payload.$$" "$payload" \
    || refuse failed "cannot write $payload"
  head -n 1 "$message" >"$files/$id.json" || refuse failed "cannot write in $files"
  rm -f "$files/$id.stop"
  touch -c "$dk/lock/heartbeat"
  rm -f "$message"
  # Detach first, then write: losing the controller never leaves a torn command.
  setsid sh "$0" "$root" detached "$run" "$id" </dev/null >/dev/null 2>&1 &
  exec 7>&- 9>&-
  follow
  ;;

detached) # RUN ID: inherits the command's lock on 7 and the gate on 9
  run=$1 id=$2
  files=$dk/runs/$run/output
  journal=$dk/runs/$run/journal.jsonl
  base=$(cat "$files/$id.json")
  line=$files/$id.line
  printf '{"kind":"began",%s\n' "${base#?}" >"$line" || exit 1
  mutex
  if ! record "$journal" "$line"; then
    rm -f "$files/$id.sh" "$line"
    exit 1
  fi
  mutex_free
  DEPLOYKIT_COMMAND=$run/$id
  export DEPLOYKIT_COMMAND
  (umask 022; exec setsid sh -e "$files/$id.sh" >"$files/$id.out" 2>&1 7>&- 9>&-) &
  command=$!
  echo "$command" >"$files/$id.pid"
  wait "$command"
  rc=$?
  stopped=false
  [ -e "$files/$id.stop" ] && stopped=true
  printf '{"kind":"ended","rc":%s,"stopped":%s,%s\n' "$rc" "$stopped" "${base#?}" >"$line"
  mutex
  record "$journal" "$line"
  mutex_free
  rm -f "$line" "$files/$id.json" "$files/$id.pid" "$files/$id.sh"
  ;;

stop) # RUN ID: end a command and all its children
  run=$1 id=$2
  files=$dk/runs/$run/output
  mkdir -p "$files" && touch "$files/$id.stop" || refuse failed "cannot write in $files"
  command=$(cat "$files/$id.pid" 2>/dev/null)
  carriers() {
    for file in /proc/[0-9]*/environ; do
      tr '\0' '\n' <"$file" 2>/dev/null | grep -qxF "DEPLOYKIT_COMMAND=$run/$id" || continue
      pid=${file#/proc/}
      pid=${pid%/environ}
      # The runner itself carries the variable too; it must live to write the receipt.
      tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF " detached $run $id" || echo "$pid"
    done
  }
  [ -n "$command" ] && kill -s TERM -- "-$command" 2>/dev/null
  if ! flock -s -w 10 "$files/$id.running" true; then
    [ -n "$command" ] && kill -s KILL -- "-$command" 2>/dev/null
  fi
  left=$(carriers)
  [ -n "$left" ] && kill -s KILL $left 2>/dev/null
  flock -s -w 5 "$files/$id.running" true || refuse alive
  [ -z "$(carriers)" ] || refuse alive
  refuse stopped
  ;;

*) refuse failed "unknown verb $verb" ;;
esac
