#!/bin/sh
# Start and stop a throwaway PostgreSQL (Debian's) for the tests.
#
#   tests/postgres.sh COMMAND ...        starts a server, runs the command, stops the server
#   eval "$(tests/postgres.sh start)"    exports CLEARMARK_TEST_POSTGRES and CLEARMARK_TEST_POSTGRES_DIR
#   tests/postgres.sh stop               stops that server and removes its files
#
# It listens on a Unix socket in a folder of its own only, with fsync on. PostgreSQL is installed first where root may
# do that; without it the command runs all the same, and the tests that need a server are skipped.
set -eu

find_programs() {
    bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1 || true)
}

as_owner() {
    # The server refuses to run as root.
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --clear-groups env HOME=/ "$@"
    else
        "$@"
    fi
}

start() {
    find_programs
    if [ -z "$bin" ] && [ "$(id -u)" = 0 ]; then
        { apt-get update -q && apt-get install -q -y --no-install-recommends postgresql; } >/dev/null 2>&1 || true
        find_programs
    fi
    if [ -z "$bin" ]; then
        echo "PostgreSQL is not installed: apt-get install postgresql" >&2
        exit 3
    fi
    dir=$(mktemp -d "${TMPDIR:-/tmp}/clearmark-postgres.XXXXXX")
    chmod 755 "$dir"
    if [ "$(id -u)" = 0 ]; then chown postgres "$dir"; fi
    cd /
    as_owner "$bin/initdb" --pgdata="$dir/data" --username=clearmark --auth=trust --encoding=UTF8 \
        --locale=C.UTF-8 >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; exit 1; }
    as_owner "$bin/pg_ctl" --pgdata="$dir/data" --log="$dir/server.log" --wait --timeout=120 --silent \
        --options="-c listen_addresses='' -k $dir -c shared_buffers=64MB -c max_connections=100" start >&2 ||
        { cat "$dir/server.log" >&2; exit 1; }
    echo "export CLEARMARK_TEST_POSTGRES_DIR='$dir'"
    echo "export CLEARMARK_TEST_POSTGRES='postgresql://clearmark@/postgres?host=$dir'"
}

stop() {
    dir=${CLEARMARK_TEST_POSTGRES_DIR:?start it first}
    find_programs
    cd /
    as_owner "$bin/pg_ctl" --pgdata="$dir/data" --mode=immediate --wait --silent stop >&2 || true
    rm -rf "$dir"
}

run() {
    code=0
    settings=$(start) || code=$?
    if [ "$code" = 3 ]; then
        echo "the tests that need a server are skipped" >&2
        exec "$@"
    fi
    if [ "$code" != 0 ]; then exit "$code"; fi
    eval "$settings"
    trap stop EXIT
    trap 'exit 130' INT TERM
    "$@" || code=$?
    exit "$code"
}

case "${1:-}" in
start | stop) "$1" ;;
run)
    shift
    run "$@"
    ;;
"" | -h | --help)
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
*) run "$@" ;;
esac
