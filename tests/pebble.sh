#!/usr/bin/env bash
# Fetches pebble, the CA of the tests, and prints its directory.
#
#   tests/pebble.sh          prints the directory with `pebble` and `pebble-challtestsrv`
#
# Debian's package of version 2.10 knows ARI and profiles; that of Debian 12 (2.4) does not. It comes from Debian's unstable
# branch, by version and checksum, and is unpacked into target/pebble; nothing is installed. RINGWAY_PEBBLE names a
# directory that has both programs already.
set -euo pipefail
cd "$(dirname "$0")/.."

version=2.10.0+ds1-2
case $(dpkg --print-architecture 2>/dev/null || uname -m) in
amd64 | x86_64) arch=amd64 sum=b9a3a3920143f1a6fc568dfa88247be22cafa96c845fe62938c08982a15df315 ;;
arm64 | aarch64) arch=arm64 sum=0364a75c5a47a963b88125ce1ec69869d1af0aacd1062926476b8d2929289364 ;;
*) arch='' sum='' ;;
esac

if [ -n "${RINGWAY_PEBBLE:-}" ]; then
    echo "$RINGWAY_PEBBLE"
    exit
fi
case ${CARGO_TARGET_DIR:-} in
/*) dir=$CARGO_TARGET_DIR/pebble ;;
*) dir=$PWD/${CARGO_TARGET_DIR:-target}/pebble ;;
esac
bin=$dir/$version/usr/bin
mkdir -p "$dir"
# Tests run in parallel, and several may find it missing.
exec 9>"$dir/lock"
flock 9
if [ ! -x "$bin/pebble" ]; then
    [ -n "$arch" ] || {
        echo "no checksum of pebble for this machine is known; set RINGWAY_PEBBLE" >&2
        exit 1
    }
    work=$(mktemp -d "$dir/fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    file="pebble_${version}_$arch.deb"
    name=pebble_${version//+/%2b}_$arch.deb
    # The second keeps versions that the first has replaced.
    for url in \
        "http://deb.debian.org/debian/pool/main/p/pebble/$name" \
        "https://snapshot.debian.org/archive/debian/20261101T000000Z/pool/main/p/pebble/$name"; do
        if curl -fsSL --retry 2 -m 120 -o "$work/$file" "$url" 2>/dev/null &&
            echo "$sum  $work/$file" | sha256sum --check --status; then
            break
        fi
        rm -f "$work/$file"
    done
    [ -f "$work/$file" ] || {
        echo "pebble $version could not be fetched; set RINGWAY_PEBBLE to a directory that has it" >&2
        exit 1
    }
    if command -v dpkg-deb >/dev/null; then
        dpkg-deb -x "$work/$file" "$work/tree"
    else
        mkdir "$work/tree"
        (cd "$work" && ar x "$file" && tar -C tree -xf data.tar.*)
    fi
    mv "$work/tree" "$dir/$version"
fi
echo "$bin"
