#!/usr/bin/env python3
"""register-task-def against the AWS CLI doing the same by hand, in one run against one local emulator.

What is compared is one new revision of a family with one environment variable changed:

    ours    cutover register-task-def --family bench --env app:RUN=N
    theirs  aws ecs describe-task-definition, then aws ecs register-task-definition with the edited document

Ours also asks STS who it is, writes its receipt to disk and reads the new revision back. Runs alternate; printed are medians,
of wall time (theirs: both processes, the edit between them not counted) and of peak resident memory (theirs: the larger of
the two), and their ratios. Nothing is printed that was not measured in this run. Linux counts what the launcher held before
it became the process measured, so no process measures as less than its launcher (GNU time where there is one, else this
script); that floor is measured and printed too.

Needs `make setup` (the emulator) and PyPI (the AWS CLI, pinned, into the user's cache). Linux: memory comes from wait4.
"""

import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from common import AWS_CLI, CACHE, arguments, parsed, peer

GOAL_TIME, GOAL_MEMORY = 1 / 20, 1 / 5


def main() -> None:
    given = parsed(arguments(__doc__, 15))
    cutover = given.cutover
    aws = peer(AWS_CLI, "aws")
    with tempfile.TemporaryDirectory() as scratch, Emulator(Path(scratch)) as emulator:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": scratch,
            "AWS_ENDPOINT_URL": emulator.url,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        bench = Bench(Path(scratch), environment, cutover, aws)
        bench.first_revision()
        # Once each, unmeasured: the first run reads executable and modules from disk.
        bench.ours(0)
        bench.theirs(0)
        ours, theirs = [], []
        for run in range(1, given.runs + 1):
            ours.append(bench.ours(run))
            theirs.append(bench.theirs(run))
        _, floor, _ = bench.measured(["true"])
        report(cutover, aws, given.runs, ours, theirs, floor / 1024)


class Emulator:
    """ministack of the tests' environment, on a free port, without the front."""

    def __init__(self, scratch: Path) -> None:
        environments = sorted(CACHE.glob("venv-*/.complete"), key=lambda stamp: stamp.stat().st_mtime)
        if not environments:
            sys.exit(f"error: there is no emulator in {CACHE}\n  help: make setup")
        self.python = environments[-1].parent / "bin" / "python"
        self.log = scratch / "emulator.log"
        self.scratch = scratch / "emulator"
        self.scratch.mkdir()

    def __enter__(self) -> "Emulator":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.scratch),
            "TMPDIR": str(self.scratch),
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            # It must not see the user's containers.
            "DOCKER_HOST": "unix:///nonexistent",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([self.python, "-m", "ministack"], env=environment, stdout=log, stderr=log)
        for _ in range(600):
            try:
                with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                    f"{self.url}/_ministack/health", timeout=1
                ):
                    return self
            except (urllib.error.URLError, OSError):
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
        self.__exit__()
        sys.exit(f"error: the emulator does not answer\n{self.log.read_text(errors='replace')[-2000:]}")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()


class Bench:
    def __init__(self, scratch: Path, environment: dict[str, str], cutover: Path, aws: Path) -> None:
        self.scratch = scratch
        self.environment = environment
        self.cutover = cutover
        self.aws = aws
        self.file = scratch / "revision.json"
        # A launcher that is small itself, where there is GNU time; it adds about a millisecond to both.
        time_command = shutil.which("time")
        self.launcher = [time_command, "-f", "%M", "-o", str(scratch / "memory")] if time_command else []

    def measured(self, command: list[object]) -> tuple[float, int, str]:
        """Seconds, KiB of peak resident memory, and standard output."""
        with (self.scratch / "out").open("w+b") as out, (self.scratch / "err").open("w+b") as err:
            start = time.perf_counter()
            process = subprocess.Popen(
                [*self.launcher, *(str(word) for word in command)], env=self.environment, cwd=self.scratch, stdout=out, stderr=err
            )
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            err.seek(0)
            if process.returncode != 0:
                sys.exit(f"error: {command} ended with {process.returncode}\n{err.read().decode(errors='replace')}")
            memory = int((self.scratch / "memory").read_text()) if self.launcher else usage.ru_maxrss
            return seconds, memory, out.read().decode()

    def first_revision(self) -> None:
        document = {
            "family": "bench",
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"],
            "cpu": "256",
            "memory": "512",
            "containerDefinitions": [
                {
                    "name": "app",
                    "image": "public.ecr.aws/nginx/nginx:1.27",
                    "environment": [{"name": f"V{n}", "value": str(n)} for n in range(40)],
                }
            ],
        }
        self.register(document)

    def register(self, document: dict) -> tuple[float, int, str]:
        self.file.write_text(json.dumps(document))
        return self.measured([self.aws, "ecs", "register-task-definition", "--cli-input-json", f"file://{self.file}"])

    def ours(self, run: int) -> tuple[float, int]:
        command = [self.cutover, "register-task-def", "--family", "bench", "--env", f"app:RUN=ours-{run}"]
        seconds, memory, out = self.measured(command)
        if "registered bench:" not in out:
            sys.exit(f"error: ours registered nothing: {out}")
        return seconds, memory

    def theirs(self, run: int) -> tuple[float, int]:
        describe = [self.aws, "ecs", "describe-task-definition", "--task-definition", "bench", "--include", "TAGS"]
        described, memory, out = self.measured(describe)
        document = json.loads(out)["taskDefinition"]
        read_only = ["taskDefinitionArn", "revision", "status", "requiresAttributes", "compatibilities"]
        for field in [*read_only, "registeredAt", "registeredBy", "deregisteredAt", "deleteRequestedAt"]:
            document.pop(field, None)
        environment = document["containerDefinitions"][0]["environment"]
        environment[:] = [item for item in environment if item["name"] != "RUN"]
        environment.append({"name": "RUN", "value": f"theirs-{run}"})
        registered, more, _ = self.register(document)
        return described + registered, max(memory, more)


def report(cutover: Path, aws: Path, runs: int, ours: list, theirs: list, floor: float) -> None:
    version = subprocess.run([aws, "--version"], check=True, capture_output=True, text=True)
    version = (version.stdout or version.stderr).strip()
    ours_says = subprocess.run([cutover, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {runs} runs each, medians")
    print(f"ours    {ours_says}, profile {cutover.parent.name} (by its folder), {cutover.stat().st_size / 1e6:.1f} MB")
    print(f"theirs  {version}")
    print()
    print(f"{'':8}{'wall, ms':>12}{'min..max':>18}{'peak memory, MiB':>20}")
    medians = []
    for name, measured in [("ours", ours), ("theirs", theirs)]:
        walls = [seconds * 1000 for seconds, _ in measured]
        memory = statistics.median(kib for _, kib in measured) / 1024
        medians.append((statistics.median(walls), memory))
        print(f"{name:8}{statistics.median(walls):12.1f}{f'{min(walls):.1f}..{max(walls):.1f}':>18}{memory:20.1f}")
    (wall, memory), (their_wall, their_memory) = medians
    print(f"{'floor':8}{'':30}{floor:20.1f}")
    if memory <= floor * 1.02:
        print("ours uses no more memory than can be told from the floor: the true ratio is better than the one below")
    print()
    for what, ratio, goal in [("wall", wall / their_wall, GOAL_TIME), ("memory", memory / their_memory, GOAL_MEMORY)]:
        met = "met" if ratio <= goal else "missed"
        print(f"{what:8}1/{1 / ratio:.1f} of theirs; the goal, at most 1/{1 / goal:.0f}, is {met}")


if __name__ == "__main__":
    main()
