"""What the load tests share: building, starting and pinning processes, reading their CPU time and memory, and
writing reports. Python's standard library only; loopback only; everything that is started is ended by its id."""

import ctypes
import html
import json
import os
import platform
import queue
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "loadtest" / "report"
TICK = 1.0 / os.sysconf("SC_CLK_TCK")


def fail(reason):
    sys.exit(f"{Path(sys.argv[0]).name}: {reason}")


def need(*commands):
    missing = [command for command in commands if not shutil.which(command)]
    if missing:
        fail(f"missing: {' '.join(missing)} (apt-get install {' '.join(missing)})")


def build(profile="dist", binary=None):
    """Builds the load-test tool, and the product unless a binary of it is given; returns both paths."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    flags = ["--release"] if profile == "release" else []
    if profile not in ("release", "dev"):
        flags = ["--profile", profile]
    if binary is None:
        run(["cargo", "build", "--quiet", "--locked", "--bin", "ringway", *flags], cwd=ROOT)
    tool = target / "loadtest"
    run(
        ["cargo", "build", "--quiet", "--locked", "--release", "--target-dir", str(tool)],
        cwd=ROOT / "loadtest",
    )
    folder = {"dev": "debug"}.get(profile, profile)
    return (binary or target / folder / "ringway").resolve(), tool / "release" / "loadtest"


def run(command, **kwargs):
    if subprocess.run(command, **kwargs).returncode != 0:
        fail(f"failed: {' '.join(map(str, command))}")


class Process:
    """A child, pinned if cores are named, ended by its own id when the block ends."""

    def __init__(self, command, cores=None, env=None, cwd=None, stdin=None, stderr=subprocess.DEVNULL):
        if cores is not None:
            command = ["taskset", "-c", cores, *command]
        self.child = subprocess.Popen(
            [str(word) for word in command],
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )

    @property
    def pid(self):
        return self.child.pid

    def line(self, seconds=20.0):
        """The next line of its output, or an end of the run when none comes."""
        return read_line(self.child.stdout, seconds, self.child)

    def stop(self):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(40)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def read_line(stream, seconds, child):
    lines = queue.Queue()
    threading.Thread(target=lambda: lines.put(stream.readline()), daemon=True).start()
    try:
        line = lines.get(timeout=seconds)
    except queue.Empty:
        child.kill()
        fail("a process said nothing in time")
    if not line:
        fail(f"a process ended with {child.wait()}")
    return line.strip()


class Ringway(Process):
    """The proxy on ports of the kernel's choice. `started` is the time until it said that it is ready."""

    def __init__(self, binary, store, cores=None, workers=1, env=None):
        settings = {
            "PROXY_HTTP_PORT": "0",
            "PROXY_API_PORT": "0",
            "PROXY_DB_PATH": str(store),
            "PROXY_WORKERS": str(workers),
            "LOG_LEVEL": "warn",
            "LOG_FORMAT": "json",
            "PROXY_ACCESS_LOG": "off",
            **(env or {}),
        }
        begin = time.monotonic()
        super().__init__([binary], cores=cores, env=settings, cwd=Path(store).parent, stderr=subprocess.STDOUT)
        while True:
            line = self.line(60)
            try:
                ready = json.loads(line)
            except ValueError:
                continue
            if ready.get("event") == "ready":
                break
        self.started = time.monotonic() - begin
        self.http = next(address for address in ready["http"] if not address.startswith("["))
        self.http = self.http.replace("0.0.0.0", "127.0.0.1")
        secure = [address for address in ready.get("https", []) if not address.startswith("[")]
        self.https = secure[0].replace("0.0.0.0", "127.0.0.1") if secure else None
        self.api = ready["api"]
        # Its log must not fill the pipe.
        threading.Thread(target=self.child.stdout.read, daemon=True).start()

    def call(self, method, path, body=None):
        request = urllib.request.Request(f"http://{self.api}{path}", method=method)
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None


class Api:
    """One keep-alive connection to the admin API, for many small calls."""

    def __init__(self, address):
        self.address = address
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def call(self, method, path, body):
        text = json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self.address}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
        )
        self.socket.sendall(head.encode() + text)
        while b"\r\n\r\n" not in self.buffer:
            self.fill()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        length = int(length.group(1)) if length else 0
        while len(self.buffer) < length:
            self.fill()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        status = int(head[9:12])
        if status >= 300:
            fail(f"{method} {path}: {status} {body.decode(errors='replace')}")
        return body

    def fill(self):
        piece = self.socket.recv(65536)
        if not piece:
            fail("the API closed its connection")
        self.buffer += piece


# --- What a process and the machine spend ---------------------------------------------------------------------


def family(pid):
    """A process and all that it has started."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                pass
    return found


def cpu_seconds(pid):
    """User and system time together of a process, its threads and its children that are alive."""
    return sum(cpu_split(pid))


def cpu_split(pid):
    """(user, system) time of a process, its threads and its children that are alive. The sum is exact; how the kernel splits it
    it samples."""
    user = system = 0.0
    for one in family(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        user += int(fields[11]) * TICK
        system += int(fields[12]) * TICK
    return user, system


def machine_cpu_seconds():
    """Time that processes kept all cores busy. Interrupts are charged to nobody, so they are not counted here either."""
    user, nice, system = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:4])
    return (user + nice + system) * TICK


def core_seconds(core):
    """Time that one core was busy with anything, interrupts included."""
    line = re.search(rf"^cpu{core} (.*)", Path("/proc/stat").read_text(), re.MULTILINE).group(1)
    user, nice, system, _idle, _iowait, irq, softirq = map(int, line.split()[:7])
    return (user + nice + system + irq + softirq) * TICK


def memory_mb(pid):
    """(PSS, RSS) in MB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    value = lambda name: int(re.search(rf"^{name}: +(\d+) kB", text, re.MULTILINE).group(1)) / 1024
    return value("Pss"), value("Rss")


def peak_mb(pid):
    """The most memory (RSS) that a process and its children ever had at once; each at its own moment."""
    peaks = [re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{one}/status").read_text(), re.MULTILINE) for one in family(pid)]
    return sum(int(peak.group(1)) for peak in peaks if peak) / 1024


def pss_kb(pid):
    """Memory of a process and its children, pages that they share counted once."""
    return sum(memory_mb(one)[0] for one in family(pid)) * 1024


def open_files(count):
    """Allows this process (and those it starts) so many descriptors, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, count)
    for limit in ((wanted, max(hard, wanted)), (min(wanted, hard), hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            return
        except (ValueError, OSError):
            continue


# --- wrk ------------------------------------------------------------------------------------------------------


class KeyPair:
    """A self-made ECDSA P-256 certificate for one name, as files."""

    def __init__(self, folder, name):
        folder = Path(folder)
        self.certificate, self.key, self.combined = (folder / f"{name}.{kind}" for kind in ("crt", "key", "pem"))
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
        run([*command, "-keyout", self.key, "-out", self.certificate], stderr=subprocess.DEVNULL)
        self.combined.write_bytes(self.certificate.read_bytes() + self.key.read_bytes())


def h2load(address, host, path, seconds, connections, streams, cores):
    """Runs h2load once over TLS; requests, errors, and latencies in ms (its summary has no percentiles)."""
    command = ["taskset", "-c", cores, "h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{seconds}"]
    command += [f"--connect-to={address}", f"https://{host}{path}"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30).stdout
    done = re.search(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", output)
    if not done or "Application protocol: h2" not in output:
        fail(f"h2load said: {output}")
    finished, good, failed, errored = map(int, done.groups())
    codes = re.search(r"status codes: (\d+) 2xx", output)
    bad = finished - int(codes.group(1)) if codes else finished
    return {"requests": good, "errors": failed + errored + bad, "p50": float("nan"), "p99": float("nan")}


def lines(tool, words, cores):
    """Runs the load-test tool once; it prints requests, errors, and latencies in ms."""
    command = ["taskset", "-c", cores, str(tool), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=int(words[-1]) + 60)
    if done.returncode:
        fail(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


class idle:
    """So many connections that have had a request each, for as long as the block lasts."""

    def __init__(self, address, host, count, secure):
        context = None
        if secure:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        request = f"GET /1 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        name, port = address.rsplit(":", 1)
        self.sockets = []
        for _ in range(count):
            one = socket.create_connection((name, int(port)), timeout=20)
            if context:
                one = context.wrap_socket(one, server_hostname=host)
            one.sendall(request)
            if b" 200 " not in one.recv(65536):
                fail(f"{address} does not answer with 200")
            self.sockets.append(one)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in self.sockets:
            one.close()


def wrk(url, host, seconds, connections, cores, threads=1, close=False, script=None, arguments=(), fields=()):
    """Runs wrk once, with a connection for each request if told to `close`, or with a script of `loadtest/wrk`; requests,
    errors, and latencies in ms."""
    command = ["taskset", "-c", cores, "wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s"]
    command += ["--latency", "-H", f"Host: {host}", url]
    for field in ["Connection: close"] * close + list(fields):
        command[-1:-1] = ["-H", field]
    if script:
        command[-1:-1] = ["-s", str(ROOT / "loadtest" / "wrk" / script)]
        command += ["--", *map(str, arguments)] if arguments else []
    output = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30).stdout
    done = re.search(r"(\d+) requests in ([\d.]+)(s|m)", output)
    if not done:
        fail(f"wrk said: {output}")
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)

    def latency(share):
        found = re.search(rf"{share}% +([\d.]+)(us|ms|s)", output)
        return float(found.group(1)) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[found.group(2)] if found else float("nan")

    return {
        "requests": int(done.group(1)),
        "errors": (int(bad.group(1)) if bad else 0) + (sum(map(int, errors.groups())) if errors else 0),
        "p50": latency(50),
        "p99": latency(99),
    }


# --- Reports --------------------------------------------------------------------------------------------------


CLONE_NEWNET = 0x40000000


def own_network(control):
    """A loopback interface of our own, for this process and its children, with this congestion control of TCP, where the
    user (root) and the kernel (tcp_allowed_congestion_control) let us have one. Returns what is in use.

    Some machines default to BBR, whose pacing timers cost every proxy as much again on long bodies, and compare nothing.
    """
    current = Path("/proc/sys/net/ipv4/tcp_congestion_control")
    allowed = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control").read_text().split()
    if os.geteuid() == 0 and control in allowed:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            fail(f"no network namespace could be made: {os.strerror(ctypes.get_errno())}")
        run(["ip", "link", "set", "lo", "up"])
        current.write_text(control)
    return current.read_text().strip()


def machine():
    """The lines of a report that say where its numbers come from."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    return [
        f"- {time.strftime('%Y-%m-%d', time.gmtime())}, commit {commit or 'unknown'}",
        f"- {os.cpu_count()} cores, {model.group(1) if model else platform.machine()}, "
        f"Linux {platform.release().split('-')[0]}",
    ]


def report(name, lines):
    REPORTS.mkdir(parents=True, exist_ok=True)
    path = REPORTS / f"{name}.md"
    path.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    print(f"\nwritten to {os.path.relpath(path)}")


def chart(name, bars):
    """Bars of ratios beside the line where nginx is, as `<name>.svg` beside the reports."""
    width, left, row = 900, 470, 26
    scale = (width - left - 60) / max(1.2, *(ratio for _, ratio in bars if ratio == ratio))
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{row * len(bars) + 50}" font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{left + scale}" y="18" text-anchor="middle" fill="#555">nginx = 1</text>',
    ]
    for at, (what, ratio) in enumerate(bars):
        if ratio != ratio:
            continue
        top, fill = 30 + at * row, "#2f7d4f" if ratio <= 1 else "#b5532a"
        words = what if len(what) <= 66 else what[:65] + "…"
        out += [
            f'<text x="{left - 8}" y="{top + 14}" text-anchor="end">{html.escape(words)}</text>',
            f'<rect x="{left}" y="{top}" width="{ratio * scale:.1f}" height="{row - 8}" fill="{fill}"/>',
            f'<text x="{left + ratio * scale + 5:.1f}" y="{top + 14}">{ratio:.2f}</text>',
        ]
    bottom = 30 + row * len(bars)
    out += [f'<line x1="{left + scale}" x2="{left + scale}" y1="24" y2="{bottom}" stroke="#555" stroke-dasharray="4 3"/>', "</svg>"]
    REPORTS.mkdir(parents=True, exist_ok=True)
    (REPORTS / f"{name}.svg").write_text("\n".join(out) + "\n")


def spread(values):
    """min / median / max"""
    values = sorted(values)
    if not values:
        return float("nan"), float("nan"), float("nan")
    return values[0], values[len(values) // 2], values[-1]


def scratch():
    return tempfile.TemporaryDirectory(prefix="ringway-loadtest-")


def interrupted():
    """Ctrl-C and SIGTERM end the blocks above in order."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
