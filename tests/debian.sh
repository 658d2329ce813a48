#!/bin/sh
# Install Debian packages that tests use, where root may do that: tests/debian.sh PACKAGE ...
#
# Without them (another system, no root, no network) the tests that need them are skipped and say so.
set -u

missing=""
for package in "$@"; do
    dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
        missing="$missing $package"
done
if [ -z "$missing" ]; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed:$missing" >&2
    exit 0
fi
# shellcheck disable=SC2086
{ apt-get update -q && apt-get install -q -y --no-install-recommends $missing; } >/dev/null 2>&1 ||
    echo "could not be installed:$missing" >&2
exit 0
