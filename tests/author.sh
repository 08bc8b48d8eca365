#!/usr/bin/env bash
# Does what a new author does, outside this repository, and says what it costs:
#
# 1. the README's commands, from an empty folder to an answer on a running host. They are taken from the
#    README, so the two cannot differ;
# 2. `wharf new` and `wharf dev`, from an empty folder to a live channel that answers a message;
# 3. changes of its source, each from the save to the generation that serves it.
#
# It prints CPU and wall seconds beside the bars below, and fails where a bar is missed by far. A busy
# machine misses a bar for wall seconds now and then.
#
# Usage: tests/author.sh [WHARF [CACHE [SECONDS]]]
#
#   WHARF    the host's binary; target/debug/wharf of this repository by default. Only that of a release
#            build is as fast as an author's
#   CACHE    a folder for compiled code, which the next run uses again; none by default. With one the CPU
#            seconds of builds are not judged
#   SECONDS  the limit for the README's commands together, and for the first build of `wharf dev`; 120 by
#            default
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
wharf=${1:-$repository/target/debug/wharf}
cache=${2:-}
limit=${3:-120}
readonly heading='## Write a channel'
readonly most_commands=6
# The bars: CPU seconds from `wharf new` to a live channel, with every dependency downloaded, and wall
# milliseconds from a save to the next generation.
readonly live_bar_s=45
readonly change_bar_ms=1500
# A bar is missed by far at these multiples of it. The second is that high for busy machines.
readonly live_far=2
readonly change_far=8
# Changes that are tried. The best one counts.
readonly changes=3

fail() {
    echo "author.sh: $*" >&2
    exit 1
}

# Prints the Nth shell block of the README's section.
block() {
    awk -v heading="$heading" -v wanted="$1" '
        /^## / { inside = ($0 == heading) }
        inside && /^```sh/ { block += 1; next }
        /^```/ { if (block == wanted) exit; next }
        inside && block == wanted
    ' "$repository/README.md"
}

# The first block installs what is there already.
host_command=$(block 2)
commands=$(block 3)
[ -n "$host_command" ] && [ -n "$commands" ] || fail "README.md has no such section: $heading"
[ "$(grep -c . <<< "$commands")" -le "$most_commands" ] || fail "more than $most_commands commands"

# An author does not have the variables that tests set.
for variable in "${!WHARF_@}" CARGO_TARGET_DIR; do
    unset "$variable"
done

if [ -n "$cache" ]; then
    # The folder is always the same, since cargo keeps compiled code by its folder.
    place=${TMPDIR:-/tmp}/wharf-author-$(id -u)-$(cksum <<< "$repository" | cut -d ' ' -f 1)
    rm -rf "$place"
    mkdir -m 700 "$place"
    mkdir -p "$cache"
    cache=$(cd "$cache" && pwd)
else
    place=$(mktemp -d)
fi
mkdir "$place/bin"
ln -s "$(cd "$(dirname "$wharf")" && pwd)/$(basename "$wharf")" "$place/bin/wharf"
PATH=$place/bin:$PATH
# Node.js has a WebSocket of its own, behind a flag before version 22.
node -e 'process.exit(typeof WebSocket === "undefined" ? 1 : 0)' ||
    export NODE_OPTIONS=--experimental-websocket

folder=$place/empty
mkdir "$folder"
cd "$folder"

log=$place/host.log
# The host has a process group of its own, which can be ended as one.
set -m
WHARF_LISTEN=127.0.0.1:0 bash -c "$host_command" < /dev/null > "$log" 2>&1 &
host=$!
set +m
trap 'kill -- "-$host" 2> /dev/null; wait "$host" 2> /dev/null; rm -rf "$place"' EXIT

# Waits until the host has logged this, and prints the line.
logged() {
    for _ in $(seq 600); do
        grep -m 1 -- "$1" "$log" && return
        kill -0 "$host" 2> /dev/null || break
        sleep 0.05
    done
    cat "$log" >&2
    fail "the host has not logged: $1"
}

address=$(logged 'listening address=' | sed 's/.*listening address=\([^ ]*\).*/\1/')

# The commands are unchanged, except for the host's address. Before the last one the script waits for the
# plugin, as a person would.
{
    echo 'set -eu'
    number=0
    last=$(grep -c . <<< "$commands")
    while IFS= read -r command; do
        number=$((number + 1))
        [ "$number" -lt "$last" ] || echo 'logged "plugin loaded.* channel=.hello. " > /dev/null'
        command=${command//127.0.0.1:4000/$address}
        printf 'echo %q >&2\n%s\n' "\$ $command" "$command"
        [ -z "$cache" ] || [ "$number" -gt 1 ] || echo "ln -s '$cache' hello/target"
    done <<< "$commands"
} > "$place/commands.sh"
export -f logged fail
export place host log

# Sets `cpu` to the CPU seconds of all commands that this shell has waited for.
count_cpu() {
    # A subshell would count its own commands.
    times > "$place/times"
    cpu=$(tail -n 1 "$place/times" | tr 'ms' '  ' | awk '{ print $1 * 60 + $2 + $3 * 60 + $4 }')
}

begun=$SECONDS
count_cpu
cpu_before=$cpu
answer=$(timeout "$limit" bash "$place/commands.sh" < /dev/null | tee /dev/stderr | tail -n 1) ||
    fail "the commands have failed, or not come to an end within $limit s"
[ "$answer" = '{"by":"ann","text":"hi","type":"said"}' ] || fail "the channel has answered: $answer"
count_cpu
cpu=$(awk -v a="$cpu_before" -v b="$cpu" 'BEGIN { printf "%.1f", b - a }')
echo "author.sh: from an empty folder to an answer in $((SECONDS - begun)) s, $cpu s of CPU"
kill -- "-$host"
wait "$host" 2> /dev/null || true

# Waits until `wharf dev` has printed this.
told() {
    for _ in $(seq $((limit * 100))); do
        grep -q -- "$1" "$place/dev.out" && return
        kill -0 "$host" 2> /dev/null || break
        sleep 0.01
    done
    cat "$place/dev.log" "$place/dev.out" >&2
    fail "wharf dev has not printed: $1"
}

# Prints the CPU seconds of `wharf dev` and of all builds that it has waited for.
cpu_of_dev() {
    awk -v ticks="$(getconf CLK_TCK)" '
        { sub(/.*\) /, ""); printf "%.1f", ($12 + $13 + $14 + $15) / ticks }
    ' "/proc/$host/stat"
}

now_ms() {
    echo $((${EPOCHREALTIME/[.,]/} / 1000))
}

# Sends the channel a message, and checks the type of its answer.
answers_with() {
    local answer
    answer=$(timeout 20 node -e '
        const ws = new WebSocket(process.argv[1]);
        ws.onopen = () => ws.send(`{"type":"say","text":"hi"}`);
        ws.onmessage = (event) => { console.log(event.data); ws.close(); };
    ' "ws://$address/talk/lobby?name=ann") || fail "the channel does not answer"
    [ "$answer" = "{\"by\":\"ann\",\"text\":\"hi\",\"type\":\"$1\"}" ] ||
        fail "the channel has answered: $answer"
}

cd "$place"
rm -rf empty
mkdir empty
cd empty
begun_ms=$(now_ms)
wharf new talk > "$place/new.out"
cd talk
[ -z "$cache" ] || ln -s "$cache" target
set -m
WHARF_LISTEN=127.0.0.1:0 wharf dev < /dev/null > "$place/dev.out" 2> "$place/dev.log" &
host=$!
set +m
told 'generation 1 serves'
live_ms=$(($(now_ms) - begun_ms))
live_cpu=$(cpu_of_dev)
log=$place/dev.log
address=$(logged 'listening address=' | sed 's/.*listening address=\([^ ]*\).*/\1/')
answers_with said
echo "author.sh: from \`wharf new\` to a live channel in $live_cpu s of CPU (bar: $live_bar_s), $live_ms ms"

best_ms=
word=said
for change in $(seq "$changes"); do
    begun_ms=$(now_ms)
    # As an editor saves: the whole file, by a rename.
    sed "s/\"type\": \"$word\"/\"type\": \"told-$change\"/" src/lib.rs > src/lib.rs.new
    mv src/lib.rs.new src/lib.rs
    word=told-$change
    told "generation $((change + 1)) serves"
    change_ms=$(($(now_ms) - begun_ms))
    answers_with "$word"
    if [ -z "$best_ms" ] || [ "$change_ms" -lt "$best_ms" ]; then best_ms=$change_ms; fi
    echo "author.sh: a change serves after $change_ms ms (bar: $change_bar_ms)"
done

if [ -z "$cache" ]; then
    awk -v cpu="$live_cpu" -v most=$((live_bar_s * live_far)) 'BEGIN { exit !(cpu <= most) }' ||
        fail "a live channel costs $live_cpu s of CPU; the bar is $live_bar_s s"
fi
[ "$best_ms" -le $((change_bar_ms * change_far)) ] ||
    fail "the fastest change took $best_ms ms; the bar is $change_bar_ms ms"
