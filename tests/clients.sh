#!/usr/bin/env bash
# Fetches third-party clients and servers of the end-to-end tests that are not Debian packages, and prints their folder.
#
#   tests/clients.sh         prints the folder with `python/bin/python3` and `node_modules`
#
# Python: grpcio (gRPC's own C core, with its default keepalive enforcement) and requests. Node.js: undici. All pinned,
# in target/clients; nothing is installed. RINGWAY_CLIENTS names a folder that has them already.
set -euo pipefail
cd "$(dirname "$0")/.."

python_packages=(grpcio==1.76.0 requests==2.32.5)
node_packages=(undici@6.22.0) # the last line that runs on Node.js 18 and 20

if [ -n "${RINGWAY_CLIENTS:-}" ]; then
    echo "$RINGWAY_CLIENTS"
    exit
fi
case ${CARGO_TARGET_DIR:-} in
/*) dir=$CARGO_TARGET_DIR/clients ;;
*) dir=$PWD/${CARGO_TARGET_DIR:-target}/clients ;;
esac
mkdir -p "$dir"
# Tests run in parallel, and several may find it missing.
exec 9>"$dir/lock"
flock 9
wanted="${python_packages[*]} ${node_packages[*]}"
if [ "$(cat "$dir/complete" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$dir/python" "$dir/node_modules"
    {
        python3 -m venv "$dir/python"
        "$dir/python/bin/python3" -m pip install --quiet --disable-pip-version-check "${python_packages[@]}"
        npm install --silent --no-save --no-audit --no-fund --no-package-lock --prefix "$dir" "${node_packages[@]}"
    } >&2
    echo "$wanted" >"$dir/complete"
fi
echo "$dir"
