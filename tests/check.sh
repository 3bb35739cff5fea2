#!/usr/bin/env bash
# The gate: all checks that a change must pass.
#
#   tests/check.sh           all steps, in order; the last line says "N passed, N failed"
#   tests/check.sh fmt deps  only these steps
#
# Steps: tools fmt clippy deps library test ca models doctest docs loadtest. Installs missing tools where it may (root or
# password-less sudo). Every step runs, also after a failed one: one run shows all findings.
set -uo pipefail
cd "$(dirname "$0")/.."

export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"
logs=target/check
mkdir -p "$logs"
started=$SECONDS
passed=0
failed=0
findings=()

say() { printf '[%4ds] %s\n' $((SECONDS - started)) "$*"; }

# step NAME COMMAND...: runs one step, counts it as one check.
step() {
    local name=$1
    shift
    say "$name: $*"
    if "$@"; then
        passed=$((passed + 1))
        say "$name: passed"
    else
        failed=$((failed + 1))
        findings+=("$name")
        say "$name: FAILED"
    fi
}

# --- tools -------------------------------------------------------------------------------------------------

install_packages() {
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null && sudo -n true 2>/dev/null || {
            say "missing: $* (install them as root: apt-get install $*)"
            return 1
        }
        as_root=(sudo -n)
    fi
    command -v apt-get >/dev/null || {
        say "missing: $* (no apt-get here; install them by hand)"
        return 1
    }
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive sh -c 'apt-get -qq update; apt-get -qq install -y --no-install-recommends "$@"' install "$@"
}

tools() {
    local packages=()
    { command -v cc && command -v c++; } >/dev/null || packages+=(build-essential)
    command -v git >/dev/null || packages+=(git)
    command -v python3 >/dev/null || packages+=(python3)
    command -v curl >/dev/null || packages+=(curl ca-certificates)
    # tests/clients.sh creates a virtual environment of Python and installs undici with npm.
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
    command -v npm >/dev/null || packages+=(nodejs npm)
    # Real clients of HTTP/2, for tests/e2e/http2.rs.
    command -v h2load >/dev/null || packages+=(nghttp2-client)
    # The CA of the tests: Debian 12's release here, a younger one below.
    command -v pebble >/dev/null || packages+=(pebble)
    # Clocks that jump, for tests/e2e/faults_system.rs.
    compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || packages+=(libfaketime)
    command -v prlimit >/dev/null || packages+=(util-linux)
    command -v dpkg-deb >/dev/null || command -v ar >/dev/null || packages+=(binutils)
    if [ ${#packages[@]} -gt 0 ]; then install_packages "${packages[@]}" || return 1; fi
    if ! command -v cargo >/dev/null; then
        if [ -x "$HOME/.cargo/bin/cargo" ]; then
            export PATH="$HOME/.cargo/bin:$PATH"
        else
            say "installing the toolchain that rust-toolchain.toml names, with rustup"
            curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --default-toolchain none || return 1
            export PATH="$HOME/.cargo/bin:$PATH"
            rustup toolchain install || return 1
        fi
    fi
    tests/pebble.sh >/dev/null || return 1
    tests/clients.sh >/dev/null || return 1
    cargo --version && cargo fmt --version && cargo clippy --version
}

# --- dependencies ------------------------------------------------------------------------------------------

# The shipped binary has tokio's I/O traits at most: neither its runtime nor its sockets.
tokio_features() {
    local tree
    tree=$(cargo tree --locked -e normal,features -i tokio 2>&1) || {
        # No tokio at all passes, too.
        grep -q 'did not match any packages' <<<"$tree" && return 0
        printf '%s\n' "$tree"
        return 1
    }
    ! grep -nE 'tokio feature "(rt|rt-multi-thread|net|full)"' <<<"$tree"
}

deps() {
    tokio_features || return 1
    # Licences, banned crates and duplicate versions are in deny.toml. cargo-deny also checks the advisory database;
    # where it is missing, tests/architecture.rs checks the rest by `cargo metadata`.
    if command -v cargo-deny >/dev/null; then
        cargo deny --locked check --hide-inclusion-graph bans licenses sources || return 1
        cargo deny --locked check advisories || say "advisories: not checked or not clean (see above)"
    else
        say "cargo-deny is not installed: advisories unchecked; bans and licences follow with the tests"
    fi
}

# The library of embedders, which does not depend on the crates of the command line.
library() {
    cargo check --locked --quiet --lib --no-default-features || return 1
    ! cargo tree --locked -e normal --no-default-features --prefix none |
        grep -E '^(clap|mimalloc|tracing-subscriber|humantime|terminal_size|sd-notify|listenfd|signal-hook|rlimit) '
}

# --- tests -------------------------------------------------------------------------------------------------

# Adds what a runner reported to the totals. An aborted run that reported nothing counts as one failure.
count() {
    local log=$1 ok=0 bad=0 n
    while read -r n; do ok=$((ok + n)); done < <(grep -E '^ *Summary |^test result:' "$log" | grep -oE '[0-9]+ passed' | grep -oE '[0-9]+')
    while read -r n; do bad=$((bad + n)); done < <(grep -E '^ *Summary |^test result:' "$log" | grep -oE '[0-9]+ (failed|timed out)' | grep -oE '[0-9]+')
    passed=$((passed + ok))
    failed=$((failed + bad))
    [ $((ok + bad)) -gt 0 ]
}

# run_tests NAME COMMAND...: a step whose tests are counted one by one.
run_tests() {
    local name=$1 log status
    shift
    log=$logs/$name.log
    say "$name: $*"
    "$@" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    count "$log"
    if [ "$status" != 0 ]; then
        findings+=("$name")
        # A build that failed, or a crash between the tests.
        grep -qE '[1-9][0-9]* (failed|timed out)' "$log" || failed=$((failed + 1))
        say "$name: FAILED"
    else
        say "$name: passed"
    fi
}

tests() {
    if command -v cargo-nextest >/dev/null; then
        run_tests test cargo nextest run --locked --workspace --all-targets --no-fail-fast
    else
        run_tests test cargo test --locked --workspace --all-targets --no-fail-fast -- --test-threads 4
    fi
}

# Unit tests that need a CA (tests/pebble.sh fetches it): ignored elsewhere, so that `cargo test` passes on a bare machine.
ca() {
    tests/pebble.sh >/dev/null || {
        failed=$((failed + 1))
        findings+=(ca)
        say "ca: FAILED: pebble is missing"
        return
    }
    if command -v cargo-nextest >/dev/null; then
        run_tests ca cargo nextest run --locked --package ringway-certs --run-ignored only --no-fail-fast
    else
        run_tests ca cargo test --locked --package ringway-certs --lib --no-fail-fast -- --ignored --test-threads 4
    fi
}

# Models of the code that crosses threads, in every order of its steps: another cfg, hence a target folder of its own,
# and only the small crates.
models() {
    run_tests models env RUSTFLAGS="--cfg loom" cargo test --locked --target-dir target/loom --lib \
        -p ringway-bridge -p ringway-cache -p ringway-traffic -p ringway-telemetry models
}

docs() {
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items --quiet
}

# Python scripts, by name or first line: parsed, not run.
python_scripts() {
    { find loadtest bench tests -name target -prune -o -name '*.py' -print &&
        grep -rIlE --exclude-dir=target '^#!.*python3$' loadtest bench tests; } | sort -u | python3 -c '
import ast, sys
paths = sys.stdin.read().split()
for path in paths:
    ast.parse(open(path).read(), path)
print(len(paths), "Python scripts")
sys.exit(not paths)'
}

# The load-test tools are a separate workspace: built and linted, not run.
loadtest() {
    [ -f loadtest/Cargo.toml ] || return 0
    cargo fmt --manifest-path loadtest/Cargo.toml --all --check &&
        cargo clippy --locked --manifest-path loadtest/Cargo.toml --target-dir target/loadtest --all-targets --quiet -- -D warnings &&
        python_scripts
}

# --- all of it ---------------------------------------------------------------------------------------------

steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(tools fmt clippy deps library test ca models doctest docs loadtest)
for name in "${steps[@]}"; do
    case $name in
    tools) step tools tools ;;
    fmt) step fmt cargo fmt --all --check ;;
    clippy) step clippy cargo clippy --locked --workspace --all-targets --quiet -- -D warnings ;;
    deps) step deps deps ;;
    library) step library library ;;
    test) tests ;;
    ca) ca ;;
    models) models ;;
    doctest) run_tests doctest cargo test --locked --workspace --doc --no-fail-fast ;;
    docs) step docs docs ;;
    loadtest) step loadtest loadtest ;;
    *)
        say "no such step: $name"
        exit 2
        ;;
    esac
done

[ ${#findings[@]} -eq 0 ] || say "failed steps: ${findings[*]}"
say "done"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
