#!/usr/bin/env bash
# Run a command with DATABASE_URL naming a private MariaDB server that ends with it:
#   tests/mariadb.sh make test
set -euo pipefail

# In memory, if there is room for two gigabytes.
room=$(df --output=avail --block-size=1M /dev/shm 2>/dev/null | tail -n 1)
[ "${room:-0}" -lt 2048 ] || export TMPDIR=/dev/shm
directory=$(mktemp -d)
server=
stop() {
    [ -z "$server" ] || { kill "$server" && wait "$server"; } || true
    rm -rf "$directory"
}
trap stop EXIT

user=$(id -un)
mariadb-install-db --no-defaults --user="$user" --datadir="$directory/data" \
    --auth-root-authentication-method=normal --skip-test-db >"$directory/log" 2>&1 ||
    { cat "$directory/log" >&2; exit 1; }

PATH=$PATH:/usr/sbin:/usr/local/sbin
mariadbd --no-defaults --user="$user" --datadir="$directory/data" --pid-file="$directory/pid" \
    --socket="$directory/socket" --skip-networking --character-set-server=utf8mb4 \
    --innodb-flush-log-at-trx-commit=0 --max-connections=200 >>"$directory/log" 2>&1 &
server=$!

for _ in $(seq 150); do
    ! mariadb-admin --no-defaults --socket="$directory/socket" --user=root ping >/dev/null 2>&1 || break
    kill -0 "$server" 2>/dev/null || { cat "$directory/log" >&2; exit 1; }
    sleep 0.2
done

DATABASE_URL="mysql://root@/shop?unix_socket=$directory/socket" "$@"
