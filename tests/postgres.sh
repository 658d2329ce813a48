#!/bin/sh
# Start and stop a throwaway PostgreSQL (Debian's) for the tests.
#
#   eval "$(tests/postgres.sh start)"    exports CLEARMARK_TEST_POSTGRES and CLEARMARK_TEST_POSTGRES_DIR
#   tests/postgres.sh stop               stops that server and removes its files
#   tests/postgres.sh run COMMAND ...    starts a server, runs the command, stops the server
#
# It listens on a Unix socket in a folder of its own only, with fsync on. Exit code 3: PostgreSQL is not installed.
set -eu

bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1 || true)

as_owner() {
    # The server refuses to run as root.
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --clear-groups env HOME=/ "$@"
    else
        "$@"
    fi
}

start() {
    if [ -z "$bin" ]; then
        echo "PostgreSQL is not installed: apt-get install postgresql" >&2
        exit 3
    fi
    dir=$(mktemp -d "${TMPDIR:-/tmp}/clearmark-postgres.XXXXXX")
    chmod 755 "$dir"
    [ "$(id -u)" = 0 ] && chown postgres "$dir"
    cd /
    if ! as_owner "$bin/initdb" --pgdata="$dir/data" --username=clearmark --auth=trust --encoding=UTF8 \
        --locale=C.UTF-8 >"$dir/initdb.log" 2>&1; then
        cat "$dir/initdb.log" >&2
        exit 1
    fi
    as_owner "$bin/pg_ctl" --pgdata="$dir/data" --log="$dir/server.log" --wait --timeout=120 --silent \
        --options="-c listen_addresses='' -k $dir -c shared_buffers=64MB -c max_connections=100" start >&2
    echo "export CLEARMARK_TEST_POSTGRES_DIR='$dir'"
    echo "export CLEARMARK_TEST_POSTGRES='postgresql://clearmark@/postgres?host=$dir'"
}

stop() {
    dir=${CLEARMARK_TEST_POSTGRES_DIR:?start it first}
    cd /
    as_owner "$bin/pg_ctl" --pgdata="$dir/data" --mode=immediate --wait --silent stop >&2 || true
    rm -rf "$dir"
}

case "${1:-}" in
start) start ;;
stop) stop ;;
run)
    shift
    here=$(pwd)
    settings=$(start)
    eval "$settings"
    trap stop EXIT
    trap 'exit 130' INT TERM
    cd "$here"
    code=0
    "$@" || code=$?
    exit "$code"
    ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
