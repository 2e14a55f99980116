#!/bin/sh
# deploykit's runner: the only thing on a host that writes deploykit's records and starts its
# commands. It needs sh and coreutils; `flock` and `setsid` where present, see "Locks" below.
#
#   sh runner.sh ROOT VERB [ARGUMENT...]      input on stdin
#
# Answers are lines on stderr that begin with byte 1 and "deploykit", so that nothing else that is
# printed there can be taken for one. EPOCH is the controller's: where the host has issued another
# one since, a verb that changes something does nothing and answers `fenced`.
#
# Two locks: `mutex` is held for moments, around records, epoch and lock; a changing command holds
# its own ID.running for as long as it runs. `gate` names the last that began, and none begins
# while that one runs, so that never two run on one host.
#
# Every fork costs a host half a millisecond: what the shell can do itself, it does. But `read` costs
# a system call for each byte; what is in a variable already is split there.
set -u
nl='
'
# Without a language tools start faster; what runs for others is given back its own.
language=${LC_ALL-}
LC_ALL=C
export LC_ALL
own_language() { LC_ALL=$language; [ -n "$language" ] || unset LC_ALL; }
root=$1 verb=$2
shift 2
dk=$root/.deploykit me=$$
umask 077
# A shell that a signal kills skips its EXIT trap, and a lost connection is a SIGPIPE.
trap 'exit 1' HUP PIPE TERM

answer() { printf '\001deploykit %s\n' "$*" >&2; }
refuse() { answer "$@"; exit 0; }

nap() { sleep 0.1 2>/dev/null || sleep 1; }

# GNU sync flushes single files; where it cannot, everything is flushed.
flush() { sync "$@" 2>/dev/null || sync; }

# -- Locks --------------------------------------------------------------------------------------
# A lock is let go by the death of its owner, however that came. With flock the kernel sees to it;
# without, a link names the owner's process and when that began, and is void once it is gone.
#
#   seize FD FILE SECONDS   0 if it is ours now
#   yield_ FD FILE          let it go
#   idle FILE SECONDS       0 as soon as nobody has it

if command -v flock >/dev/null 2>&1; then
  myself() { :; }
  seize() { eval "exec $1>>\"\$2\"" && flock -w "$3" "$1"; }
  yield_() { eval "exec $1>&-"; }
  idle() {
    [ -e "$1" ] || return 0
    exec 5<"$1"
    flock -s -w "$2" 5
    set -- $?
    exec 5<&-
    return "$1"
  }
else
  # Set $me to the number of a process that the shell has not given $$.
  myself() {
    if [ -r /proc/self/stat ]; then read -r me _ </proc/self/stat
    else me=$(exec sh -c 'echo "$PPID"'); fi
  }
  life() { # PID: when it began; nothing if it is gone
    if [ -d /proc/self ]; then
      life_=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
      set -- ${life_##*)}
      [ "$1" = Z ] || echo "${20}"
    else ps -o lstart= -p "$1" | tr ' ' _; fi
  }
  owned() { # FILE: 0 if a living process has it
    owner_=$(readlink "$1.by") || return 1
    [ "$(life "${owner_%%:*}")" = "${owner_#*:}" ] && return 0
    # Only the link that was looked at may go; another's may stand there by now.
    mv "$1.by" "$1.by.$me" 2>/dev/null || return 1
    [ "$(readlink "$1.by.$me")" = "$owner_" ] || mv "$1.by.$me" "$1.by"
    rm -f "$1.by.$me"
    return 1
  }
  seize() {
    seize_=$(($3 * 10 + 1))
    until ln -s "$me:$(life "$me")" "$2.by" 2>/dev/null; do
      owned "$2" || continue
      [ "$seize_" -gt 1 ] || return 1
      seize_=$((seize_ - 1))
      nap
    done
  }
  yield_() { case $(readlink "$2.by") in "$me:"*) rm -f "$2.by" ;; esac; }
  idle() {
    idle_=${2%.*}
    idle_=$((${idle_:-0} * 10 + 1))
    while owned "$1"; do
      [ "$idle_" -gt 1 ] || return 1
      idle_=$((idle_ - 1))
      nap
    done
  }
fi
mutex() { seize 8 "$dk/mutex" 60; }
mutex_free() { yield_ 8 "$dk/mutex"; }

# Become a command in a session of its own, which the end of the connection does not reach.
if command -v setsid >/dev/null 2>&1; then apart() { exec setsid "$@"; }
else apart() { exec nohup "$@"; }; fi

# -- Records ------------------------------------------------------------------------------------

# Set $epoch to what the host issued last.
read_epoch() {
  epoch=0
  [ ! -e "$dk/epoch" ] || read -r epoch <"$dk/epoch"
}
# Set $holder to the run that holds the lock, or nothing.
read_holder() {
  holder=
  [ ! -e "$dk/lock/run" ] || read -r holder <"$dk/lock/run"
}
beat() { [ ! -e "$dk/lock/heartbeat" ] || echo >"$dk/lock/heartbeat"; } 2>/dev/null

# Set $boot to a name for the time since the host started, or nothing.
read_boot() {
  boot=
  [ ! -e /proc/sys/kernel/random/boot_id ] || read -r boot </proc/sys/kernel/random/boot_id
}

# Bump the epoch, to at least $1; sets $epoch.
issue() {
  read_epoch
  epoch=$((epoch + 1))
  [ "$epoch" -ge "$1" ] || epoch=$1
  echo "$epoch" >"$dk/epoch.new" && flush "$dk/epoch.new" && mv -f "$dk/epoch.new" "$dk/epoch" \
    && flush "$dk"
}

# Take the mutex for a controller of epoch $1, or refuse it.
enter() {
  mutex || refuse failed "another process holds $dk/mutex"
  read_epoch
  [ "$1" = - ] || [ "$epoch" = "$1" ] || refuse fenced "$epoch"
}

# Read stdin into $text, less its first line, which names the sha256 of the rest: a message that was
# cut on its way must never be acted upon. It may hold secrets, and never gets into a file.
receive() {
  IFS= read -r want || want=
  text=$(cat)
  have=$(sha256sum <<END
$text
END
  )
  [ "${have%% *}" = "$want" ]
}

# Append to the records in $1 the JSON objects that follow, a line each and up to an `@`, with version,
# number and time put first; set $used to how many words that were. A torn last line, which the
# host's death or a full disk leaves, is ended before. Needs the mutex.
record() {
  to=$1 seq='' boot_='' up=0 up_='' at='' file_='' fresh='' used=0
  shift
  read_boot
  # It remembers the last record of all, which saves looking; of another boot it may be too old.
  [ ! -e "$dk/scratch" ] || read -r seq boot_ up_ at file_ <"$dk/scratch"
  if [ ! -s "$to" ]; then seq=0 fresh=1
  elif [ -z "$boot" ] || [ "$boot_ $file_" != "$boot ${to#"$dk/"}" ]; then
    # A file is twice as fast to read from as a `$(...)`, and tells whether the line has an end.
    tail -n 1 "$to" >"$dk/scratch" || return 1
    if IFS= read -r last <"$dk/scratch"; then torn=; else torn=1; fi
    case $torn$last in
      '{"v":1,"seq":'*) seq=${last#*:*:} seq=${seq%%,*} ;;
      *) [ -z "$torn" ] || echo >>"$to" || return 1; seq=$(wc -l <"$to") ;;
    esac
  fi
  # From here on and until all is on the disk nothing is remembered. A time serves for a second.
  [ ! -e /proc/uptime ] || read -r up _ </proc/uptime
  up=1${up%.*}${up#*.}
  case $up_ in '' | *[!0-9]*) up_=0 ;; esac
  if [ -n "$boot" ] && [ "$boot_" = "$boot" ] && [ "$up_" -le "$up" ] && [ "$((up - up_))" -lt 100 ]
  then : >"$dk/scratch" || return 1
  else date -u +%Y-%m-%dT%H:%M:%SZ >"$dk/scratch" && read -r at <"$dk/scratch" || return 1; up_=$up; fi
  for line in "$@"; do
    used=$((used + 1))
    [ "$line" != @ ] || break
    seq=$((seq + 1))
    printf '{"v":1,"seq":%s,"at":"%s",%s\n' "$seq" "$at" "${line#?}" >>"$to" || return 1
  done
  flush "$to" ${fresh:+"${to%/*}" "${to%/*/*}"} || return 1
  echo "$seq $boot $up_ $at ${to#"$dk/"}" >"$dk/scratch"
}

# Set $receipt to `never`, `began DIGEST` or `ended RC HOW DIGEST`, of command $id of run $run.
read_receipt() {
  receipt=never boot_=
  [ -e "$journal" ] || return 0
  # What has begun has a file for its output, unless that died with the host that was to write it.
  if [ ! -e "$files/$id.out" ]; then
    read_boot
    [ ! -e "$files/boot" ] || read -r boot_ <"$files/boot"
    [ -z "$boot" ] || [ "$boot" != "$boot_" ] || return 0
  fi
  mine_=$(grep -F "\"id\":\"$id\"" "$journal") || return 0
  while IFS= read -r line; do
    case $line in *'"digest":"'*) digest_=${line#*'"digest":"'} digest_=${digest_%%'"'*} ;; esac
    case $line in
      *'"kind":"began"'*) receipt="began $digest_" ;;
      *'"kind":"ended"'*)
        rc_=${line#*'"rc":'}
        how_=ran
        case $line in *'"stopped":true'*) how_=stopped ;; esac
        receipt="ended ${rc_%%,*} $how_ $digest_"
        ;;
    esac
  done <<END
$mine_
END
}

# Copy the output of $id to stdout as it grows, until the command is over; then answer how it ended,
# and the words $@.
follow() {
  sent=0
  until idle "$files/$id.running" 0.25; do
    size=$(wc -c <"$files/$id.out" 2>/dev/null || echo 0)
    if [ "$size" -gt "$sent" ]; then
      tail -c "+$((sent + 1))" "$files/$id.out" | head -c "$((size - sent))"
      sent=$((size))
    fi
  done
  [ ! -s "$files/$id.out" ] || tail -c "+$((sent + 1))" "$files/$id.out"
  state_=
  [ ! -e "$files/$id.state" ] || read -r state_ rc_ how_ <"$files/$id.state"
  [ "$state_" != ended ] || refuse ended "$rc_" "$how_" "$@"
  read_receipt
  case $receipt in
    ended*) refuse ${receipt% *} "$@" ;;
    began*) refuse torn ;;
    *) refuse never "$@" ;;
  esac
}

# Carry out the command in $text, unless it has been; say `started`, or why not, on stdout.
#
# It is a process of its own, which the end of neither connection nor controller reaches; so is the
# command, in a session of its own.
carry_out() {
  trap '' HUP PIPE TERM
  myself # whoever started us, whose number $$ is, may be gone before us
  base=${text%%"$nl"*} older=
  base=${base#'#{'}
  IFS=$nl
  set -f
  case $text in *"$nl#@"*)
    for line in $text; do
      case $line in
        '#@'*) older=$older${line#'#@'}$nl ;;
        '#{'*) ;;
        *) break ;;
      esac
    done
  esac
  set -- $older "{\"kind\":\"began\",$base"
  set +f
  unset IFS
  digest=${base#*'"digest":"'} digest=${digest%%'"'*}
  # Gate, epoch and record in one: nobody can take over or begin anything in between.
  mutex || say failed "another process holds $dk/mutex"
  seize 7 "$files/$id.running" 0 || say running
  read_receipt
  case $receipt in
    never) ;;
    *" $digest") case $receipt in ended*) say ${receipt% *} ;; *) say torn ;; esac ;;
    *) say changed ;;
  esac
  last_=
  [ ! -e "$dk/gate" ] || IFS= read -r last_ <"$dk/gate"
  case $last_ in
    '' | "$run/$id") ;;
    *) is_over "$dk/runs/${last_%%/*}/output/${last_#*/}" || say busy ;;
  esac
  [ ! -e "$files/$id.stop" ] || rm -f "$files/$id.stop"
  read_epoch
  [ "$epoch" = "$mine" ] || say fenced "$epoch"
  : >"$files/$id.out" && : >"$files/$id.state" && echo "$run/$id" >"$dk/gate" \
    && record "$journal" "$@" || say failed the disk is full
  mutex_free
  beat
  echo started
  exec >/dev/null
  (
    trap - HUP PIPE TERM
    umask 022
    own_language
    DEPLOYKIT_COMMAND=$run/$id
    export DEPLOYKIT_COMMAND
    # As one compound it is read to its end before it begins, and its commands have no input.
    apart sh -e >"$files/$id.out" 2>&1 6>&- 7>&- <<END
{
$text

} </dev/null
END
  ) &
  command=$!
  echo "running $command" >"$files/$id.state"
  # Who wanted to stop it before it had a number could not.
  [ ! -e "$files/$id.stop" ] || { nap; kill -s TERM -- "-$command" || kill -s TERM "$command"; } 2>/dev/null
  wait "$command"
  rc=$?
  stopped=false how=ran
  [ ! -e "$files/$id.stop" ] || stopped=true how=stopped
  # What ended with the host has not said how it ended: without a record it is torn.
  [ "$rc" -le 128 ] || [ "$stopped" = true ] || ! is_going_down || exit 1
  mutex || exit 1
  # Whoever follows need not look for the record.
  record "$journal" "{\"kind\":\"ended\",\"rc\":$rc,\"stopped\":$stopped,$base" \
    && echo "ended $rc $how" >"$files/$id.state"
  mutex_free
  [ ! -e "$files/$id.stop" ] || rm -f "$files/$id.stop"
  yield_ 7 "$files/$id.running"
}
# 0 if the host is shutting down: systemd says so, or its bus has gone before us.
is_going_down() {
  [ -d /run/systemd/system ] || return 1
  case $(systemctl is-system-running 2>/dev/null) in
    stopping) ;;
    '') [ -S /run/dbus/system_bus_socket ] ;;
    *) return 1 ;;
  esac
}
say() {
  yield_ 7 "$files/$id.running"
  mutex_free
  echo "$*"
  exit 0
}
# 0 if the command of which $1 is the path of all files is not running.
is_over() {
  state_=
  [ ! -e "$1.state" ] || read -r state_ _ <"$1.state"
  [ "$state_" = ended ] || idle "$1.running" 0
}

# Print the processes that carry the variable of $id; its runner, which writes the receipt, does not.
carriers() {
  for file in $(grep -lsF "DEPLOYKIT_COMMAND=$run/$id" /proc/[0-9]*/environ); do
    tr '\0' '\n' <"$file" 2>/dev/null | grep -qxF "DEPLOYKIT_COMMAND=$run/$id" || continue
    pid=${file#/proc/}
    echo "${pid%/environ}"
  done
}

[ -w "$dk" ] || refuse failed "cannot write in $dk (read-only file system?)"
case $verb in
append) # EPOCH FILE...: put lines into each FILE (relative to .deploykit); a line `@` ends those of one.
  # EPOCH ends in `-` where the run goes back: what was kept back for that is needed from here on.
  mine=$1
  case $mine in ?*-) rm -f "$dk/reserve"; mine=${mine%-} ;; esac
  shift
  all=$*
  receive || refuse cut
  IFS=$nl
  set -f
  set -- $text
  set +f
  unset IFS
  enter "$mine"
  for file in $all; do
    folder=$dk/$file
    folder=${folder%/*}
    [ -d "$folder" ] || mkdir -p "$folder" || refuse failed "cannot make the folder of $file"
    record "$dk/$file" "$@" || refuse failed "cannot write $file"
    shift "$used"
  done
  mutex_free
  beat
  refuse appended
  ;;

settle) # EPOCH PART PATH SHA256: an uploaded file gets its name once it is whole and on the disk
  flush "$2"
  have=$(sha256sum <"$2")
  [ "${have%% *}" = "$4" ] || refuse wrong
  read_epoch
  [ "$1" = "$epoch" ] || rm -f -- "$2" # nobody else will
  enter "$1"
  mv -f -- "$2" "$3" || refuse failed "cannot name $3"
  flush "$(dirname -- "$3")"
  refuse settled
  ;;

lock) # RUN LEAST [SEEN]: take the lock, with an epoch of at least LEAST; stdin is its owner, a JSON
  # object. SEEN is the epoch that must be the host's, or `below`: it must be less than LEAST.
  run=$1 least=$2 seen=${3:--}
  owner=$dk/.owner.$$
  trap 'rm -rf "$owner"' EXIT
  mkdir -p "$owner" || refuse failed "cannot write in $dk"
  receive || refuse cut
  printf '%s\n' "$text" >"$owner/owner.json" && printf '%s\n' "$run" >"$owner/run" \
    && : >"$owner/heartbeat" || refuse failed "cannot write in $dk"
  enter -
  read_holder
  if [ -d "$dk/lock" ] && [ "$holder" != "$run" ]; then refuse held; fi
  if [ "$seen" != - ]; then
    # Asked again, because the answer was lost: it is ours already.
    [ "$epoch" != "$least" ] || ! cmp -s "$owner/owner.json" "$dk/lock/owner.json" \
      || refuse locked "$epoch" again
    case $seen in
      below) [ "$epoch" -lt "$least" ] || refuse fenced "$epoch" ;;
      *) [ "$epoch" = "$seen" ] || refuse fenced "$epoch" ;;
    esac
  fi
  issue "$least" || refuse failed "cannot write in $dk"
  if [ -d "$dk/lock" ]; then
    # Who takes over is the owner now, and alive from now on.
    cp -p "$owner/owner.json" "$dk/lock/owner.json.new" \
      && mv -f "$dk/lock/owner.json.new" "$dk/lock/owner.json" || refuse failed "cannot write in $dk"
    beat
    refuse locked "$epoch" again
  fi
  # What the death of the host left of others who wanted it, and what came after their end.
  for left in "$dk"/.owner.*; do
    [ ! -e "$left" ] || kill -0 "${left##*.}" 2>/dev/null || rm -rf "$left"
  done
  for left in "$dk"/runs/*/*.part; do [ ! -e "$left" ] || rm -f "$left"; done
  # A megabyte for the records and scripts of going back, should the disk be full by then.
  [ -s "$dk/reserve" ] || head -c 1048576 /dev/zero >"$dk/reserve" \
    || { rm -f "$dk/reserve"; refuse failed "the disk is full"; }
  flush "$owner/owner.json" "$owner/run" "$owner"
  mv "$owner" "$dk/lock" || refuse failed "cannot write in $dk"
  flush "$dk"
  refuse locked "$epoch" new
  ;;

hold) # RUN EPOCH: stand for the controller: a line on stdin is its heartbeat, the end of stdin its end
  run=$1
  read_holder
  [ "$holder" = "$run" ] || refuse notmine
  read_epoch
  [ "$epoch" = "$2" ] || refuse fenced "$epoch"
  # Whoever stood here before was of an older epoch, and may be frozen.
  if ! seize 6 "$dk/lock/alive" 0; then
    read -r old <"$dk/lock/alive" && kill -s KILL "$old"
    seize 6 "$dk/lock/alive" 5 || refuse busy
  fi
  echo "$$" >"$dk/lock/alive"
  while IFS= read -r _; do
    read_holder
    read_epoch
    [ "$holder" = "$run" ] && [ "$epoch" = "$2" ] || refuse fenced "$epoch"
    beat
  done
  yield_ 6 "$dk/lock/alive"
  refuse ended
  ;;

unlock) # RUN EPOCH: free the lock if RUN holds it
  run=$1
  enter "$2"
  read_holder
  [ "$holder" = "$run" ] || refuse notmine
  # By force means also: whoever held it may only sleep, and has to find himself fenced.
  [ "$2" != - ] || issue 0 || refuse failed "cannot write in $dk"
  rm -rf "$dk/unlocked" && mv "$dk/lock" "$dk/unlocked" || refuse failed "cannot write in $dk"
  flush "$dk"
  # Nothing of the run goes on: what a controller or guardian that died has left, can go.
  cd "$dk/runs/$run" 2>/dev/null && rm -rf ./*.part guardian* undo-restart.sh*
  rm -rf "$dk/unlocked"
  refuse unlocked
  ;;

exec) # RUN ID EPOCH: stdin is a sha256, then the script. Its first lines are comments: the command's
  # record, then records that are older, and are written with it.
  run=$1 id=$2 mine=$3
  files=$dk/runs/$run/output
  journal=$dk/runs/$run/journal.jsonl
  if [ ! -d "$files" ]; then
    read_boot
    mkdir -p "$files" && echo "$boot" >"$files/boot" || refuse failed "cannot make $files"
  fi
  receive || refuse cut
  # Apart first, then write: losing the controller never leaves a torn command. What is apart closes
  # its standard output when it has said what became of the command.
  verdict=$(carry_out </dev/null 2>/dev/null &)
  set -- $verdict
  case ${1:-} in
    started) follow ;;
    running) follow before ;;
    ended)
      [ ! -s "$files/$id.out" ] || cat "$files/$id.out"
      refuse "$@" before
      ;;
    '') refuse failed "cannot start a process" ;;
    *) refuse "$@" ;;
  esac
  ;;

stop) # RUN ID EPOCH: end a command and all its children
  run=$1 id=$2
  files=$dk/runs/$run/output
  enter "$3"
  mkdir -p "$files" && : >"$files/$id.stop" || refuse failed "cannot write in $files"
  mutex_free
  state= command=
  # Of a command that has no runner any more the number may be somebody else's by now.
  if [ -e "$files/$id.state" ] && ! idle "$files/$id.running" 0; then
    read -r state command <"$files/$id.state"
  fi
  if [ "$state" = running ]; then
    kill -s TERM -- "-$command" 2>/dev/null || kill -s TERM "$command" 2>/dev/null
    idle "$files/$id.running" 10 || kill -s KILL -- "-$command" 2>/dev/null
  fi
  tries=0
  while left=$(carriers) && [ -n "$left" ]; do # a killed process may take its time to go
    tries=$((tries + 1))
    [ "$tries" -le 50 ] || refuse alive
    kill -s KILL $left 2>/dev/null
    nap
  done
  idle "$files/$id.running" 5 || refuse alive
  rm -f "$files/$id.stop"
  refuse stopped
  ;;

fire) # RUN SEEN: the guardian fences a controller of which it saw no heartbeat since SEEN
  run=$1
  journal=$dk/runs/$run/journal.jsonl
  rm -f "$dk/reserve"
  receive || refuse cut
  enter -
  read_holder
  [ "$holder" = "$run" ] && [ -e "$journal" ] || refuse over
  if grep -qE '"kind":"(confirmed|rolled_back)"' "$journal"; then refuse over; fi
  [ "$(stat -c %Y "$dk/lock/heartbeat")" = "$2" ] || refuse alive
  issue 0 || refuse failed "cannot write in $dk"
  back=$text
  turns=$(grep -cF '"kind":"back"' "$journal")
  if [ "$turns" = 0 ]; then
    turns=1
  else
    rest=${back#*'"kind":"'}
    back=${back%%'"kind":"'*}'"kind":"fired"'${rest#*'"'}
  fi
  record "$journal" "{\"epoch\":$epoch,${back#?}" || refuse failed "cannot write $journal"
  refuse fired "$epoch" "$turns"
  ;;

*) refuse failed "unknown verb $verb" ;;
esac
