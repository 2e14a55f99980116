#!/bin/sh
# deploykit's guardian: brings the code back by itself when the controller of a run is gone.
#
#   sh guardian.sh ROOT
#
# It guards the run that holds the lock, and reads from runs/<id>/guardian, a line each: what it is
# armed with (seconds to wait, then a name of this arming), the runner, PATH, and the record that
# says that the run goes back. It ends when the run is over or gone, or another one was armed.
#
# It counts seconds of its own sleep, never those of a wall clock.
set -u
root=$1
dk=$root/.deploykit
mark=$(printf '\001')
FROZEN=5 # seconds for one sleep of one second, from which on we take it that the host stood still
THAWS=3  # so often it counts anew: a host that is only slow must not keep it from firing
umask 077
cd /

IFS= read -r run 2>/dev/null <"$dk/lock/run" || exit 0
dir=$dk/runs/$run
# Whoever gets the name is the one guardian of this arming, and has shown that it runs.
mv "$dir/guardian.new" "$dir/guardian" 2>/dev/null || exit 0
{ IFS= read -r mine && IFS= read -r runner && IFS= read -r PATH && IFS= read -r record; } \
  <"$dir/guardian" || exit 0
within=${mine%% *}
export PATH

is_mine() { { IFS= read -r now && [ "$now" = "$mine" ]; } 2>/dev/null <"$dir/guardian"; }
is_locked() { { IFS= read -r now && [ "$now" = "$run" ]; } 2>/dev/null <"$dk/lock/run"; }
is_ours() { { read -r now && [ "$now" = "$epoch" ]; } 2>/dev/null <"$dk/epoch"; }
is_over() { grep -qE '"kind":"(confirmed|rolled_back)"' "$dir/journal.jsonl"; }
over() { # what only we need goes with us
  ! is_mine || rm -f "$dir/undo-restart.sh"* "$dir/guardian"
  exit 0
}
seal() {
  text=$(cat; echo .)
  text=${text%.}
  sum=$(printf %s "$text" | sha256sum)
  printf '%s\n%s' "${sum%% *}" "$text"
}
call() { # VERB...: print the runner's answer to the message on stdin
  sh "$runner" "$root" "$@" 2>&1 >/dev/null | sed -n "s/^${mark}deploykit //p" | tail -n 1
}

look() { # sets $up and $beat
  read -r up _ </proc/uptime
  up=${up%.*}
  beat=$(stat -c %Y "$dk/lock/heartbeat" 2>/dev/null)
}

# Returns only if there was a heartbeat after all, or if the host could not do it now.
fire() {
  # Without `back` in it, this record never turns a run that goes back already.
  ! grep -qF '"kind":"back"' "$dir/journal.jsonl" || record='{"kind":"back",'${record#*,}
  set -- $(printf '%s\n' "$record" | seal | call fire "$run" "$beat")
  case ${1:-} in
    fired) bring_back "$2" "$3" ;;
    over) over ;;
  esac
}

# From here on the old controller begins nothing more: what the journal says of it is all there is.
bring_back() { # EPOCH ATTEMPT
  epoch=$1
  case $mine in *' leave') over ;; esac
  for file in "$dir/undo-restart.sh"*; do
    stage=$(sed -n '1s/.*\("stage":".*"direction":"\)undo".*/\1apply"/p' "$file")
    grep -F '"kind":"began"' "$dir/journal.jsonl" | grep -qF "$stage" || continue
    id=$(sed -n '1s/.*"id":"\([^"]*\)\.0".*/\1/p' "$file").$2
    while [ -e "$file" ] && is_locked && is_ours; do
      stop_applying
      answer=$(sed -e "1s/\"epoch\":0,/\"epoch\":$epoch,/" -e "1s/\"attempt\":0,/\"attempt\":$2,/" \
        -e "1s/\"id\":\"[^\"]*\"/\"id\":\"$id\"/" \
        -e "s/^export DEPLOYKIT_EPOCH=0\$/export DEPLOYKIT_EPOCH=$epoch/" "$file" \
        | seal | call exec "$run" "$id" "$epoch")
      case $answer in
        'ended 0 ran'*) continue 2 ;;
        # Another undo still runs, or was refused while it held the command; or the disk is full.
        busy* | never* | cut* | failed* | '') sleep 1 ;;
        *) over ;; # it failed, or it is another's: a resume or rollback says so
      esac
    done
  done
  over
}

stop_applying() { # what the old controller has begun and nobody waits for
  awk '
    !/"direction":"apply"/ || !/"id":"/ { next }
    { id = $0; sub(/.*"id":"/, "", id); sub(/".*/, "", id) }
    /"kind":"began"/ { open[id] = 1 }
    /"kind":"ended"/ { delete open[id] }
    END { for (id in open) print id }
  ' "$dir/journal.jsonl" | while IFS= read -r id; do
    call stop "$run" "$id" "$epoch" </dev/null
  done >/dev/null
}

look
silent=0 thaws=0
while sleep 1; do
  is_mine && is_locked && ! is_over || over
  last=$up seen=$beat
  look
  gap=$((up - last))
  if [ "$beat" != "$seen" ]; then silent=0 thaws=0
  elif [ "$gap" -le "$FROZEN" ]; then silent=$((silent + gap))
  elif [ "$thaws" -lt "$THAWS" ]; then silent=0 thaws=$((thaws + 1))
  else silent=$((silent + FROZEN)); fi
  [ "$silent" -lt "$within" ] || fire
done
