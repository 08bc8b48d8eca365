#!/usr/bin/env bash
# Runs the README's commands for authors, from an empty folder outside this repository to an answer on a
# running host. The commands are taken from the README, so the two cannot differ.
#
# Usage: tests/author.sh [WHARF [CACHE [SECONDS]]]
#
#   WHARF    the host's binary; target/debug/wharf of this repository by default
#   CACHE    a folder for compiled code, which the next run uses again; none by default
#   SECONDS  the limit for all commands together; 120 by default
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
wharf=${1:-$repository/target/debug/wharf}
cache=${2:-}
limit=${3:-120}
readonly heading='## Write a channel'
readonly most_commands=6

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

host_command=$(block 1)
commands=$(block 2)
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

# The host has a process group of its own, which can be ended as one.
set -m
WHARF_LISTEN=127.0.0.1:0 bash -c "$host_command" < /dev/null > "$place/host.log" 2>&1 &
host=$!
set +m
trap 'kill -- "-$host" 2> /dev/null; wait "$host" 2> /dev/null; rm -rf "$place"' EXIT

# Waits until the host has logged this, and prints the line.
logged() {
    for _ in $(seq 600); do
        grep -m 1 -- "$1" "$place/host.log" && return
        kill -0 "$host" 2> /dev/null || break
        sleep 0.05
    done
    cat "$place/host.log" >&2
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
export place host

begun=$SECONDS
answer=$(timeout "$limit" bash "$place/commands.sh" < /dev/null | tee /dev/stderr | tail -n 1) ||
    fail "the commands have failed, or not come to an end within $limit s"
[ "$answer" = '{"by":"ann","text":"hi","type":"said"}' ] || fail "the channel has answered: $answer"
echo "author.sh: from an empty folder to an answer in $((SECONDS - begun)) s"
