#!/usr/bin/env python3
"""backup-db against `pg_dump -Fc | aws s3 cp -`, and against pg_dump alone.

Two databases on one local PostgreSQL: rows of random printable text (6.55 bits of 8 are random: what gzip and zstd save is the rest),
and pgbench's, whose fillers are blanks. The S3 server is the tests' own double for both tools (s3s-fs has no ListMultipartUploads,
which ours asks for): once storing what it gets in files, and once checksumming and forgetting it, for what ours takes when the
server costs next to nothing.

    ours        cutover backup-db --verify present --count-limit 0 --no-globals: to Complete and manifest, nothing else
    counts      the same with the rows counted in the dump's snapshot, and the roles
    read-back   the default: counts, and all of it read back through pg_restore
    peer        pg_dump -Fc | aws s3 cp -, which leaves no manifest and whatever was there when the dump dies
    gzip        ours with the peer's own compression, to tell the uploader from the compressor
    discarded   ours against the discarding server
    none        the same without compression, as `null` is: pg_dump -Fc -Z0 > /dev/null

Runs alternate; printed are medians and ratios of medians. The size of each dump and that every object is there is checked after
every run; a run that fails ends the script.
Needs a PostgreSQL server with pgbench, the executable s3-double beside cutover, and PyPI (the AWS CLI, pinned).
"""

import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from common import (
    AWS_CLI, Figures, Measure, Postgres, arguments, ask, aws_environment, heading, median, parsed, peer, s3_double, table, verdict, with_double,
)

GOAL_PEER, GOAL_NULL, GOAL_MEMORY = 0.8, 1.15, 100.0
BUCKET = "backups"


def main() -> None:
    parser = arguments(__doc__, 5)
    parser.add_argument("--size", type=int, default=1024, help="MiB of random rows; pgbench's database has its share [default: 1024]")
    parser.add_argument("--input", choices=["random", "pgbench"], action="append", help="only this one; may be repeated")
    parser.add_argument("--way", action="append", help="only this way, without verdicts that need another; may be repeated")
    with_double(parser)
    given = parsed(parser)
    aws = peer(AWS_CLI, "aws")
    scratch = Path(tempfile.mkdtemp(prefix="cutover-bench-"))
    try:
        with Postgres(scratch) as postgres, s3_double(given, scratch, [BUCKET]) as storing:
            with s3_double(given, scratch, [BUCKET], "--discard-above", 1 << 20) as discarding:
                heading(given.cutover, given.runs)
                for name in given.input or ["random", "pgbench"]:
                    fill(postgres, name, given.size)
                    Bench(given, scratch, postgres, storing, discarding, aws, name).run()
                    postgres.psql("postgres", f"DROP DATABASE {name}_rows")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def fill(postgres: Postgres, name: str, size: int) -> None:
    database = f"{name}_rows"
    postgres.psql("postgres", f"CREATE DATABASE {database}")
    if name == "random":
        # Every byte that COPY's text form takes as it is; 94 of 256 values, by rejection, so that none is likelier.
        allowed = bytes(byte for byte in range(33, 127) if byte != ord("\\"))
        keep = bytes(byte for byte in range(256) if byte >= len(allowed))
        translate = bytes(allowed[byte] if byte < len(allowed) else 0 for byte in range(256))
        generator = random.Random(5)
        command = [postgres.bin / "psql", "-Xq", "-d", database, "-c", "CREATE TABLE rows (id bigint, body text)", "-c", "COPY rows FROM STDIN"]
        loading = subprocess.Popen(command, env=postgres.environment, stdin=subprocess.PIPE)
        pool, row, written = b"", 0, 0
        while written < size << 20:
            if len(pool) < 1 << 16:
                pool += generator.randbytes(1 << 22).translate(translate, keep)
            body, pool = pool[:8000], pool[8000:]
            row += 1
            written += loading.stdin.write(b"%d\t%s\n" % (row, body))
        loading.stdin.close()
        if loading.wait() != 0:
            sys.exit("error: the rows were not loaded")
    else:
        scale = max(1, round(70 * size / 1024))
        subprocess.run([postgres.bin / "pgbench", "-i", "-q", "-s", str(scale), database], env=postgres.environment, check=True, stderr=subprocess.DEVNULL)
    postgres.psql(database, "VACUUM ANALYZE")


class Bench:
    def __init__(self, given, scratch: Path, postgres: Postgres, storing, discarding, aws: Path, name: str) -> None:
        self.given, self.scratch, self.postgres, self.storing, self.discarding, self.name = given, scratch, postgres, storing, discarding, name
        self.database = f"{name}_rows"
        environment = {**aws_environment(scratch, storing.url), **postgres.environment, "PGDATABASE": self.database}
        self.measure = Measure(scratch, environment)
        self.aws = aws
        self.times = 0
        self.help = subprocess.run([given.cutover, "backup-db", "--help"], check=True, capture_output=True, text=True).stdout
        self.quick = ["--verify", "present"]
        for flag, words in [("--count-limit", ["--count-limit", "0"]), ("--no-globals", ["--no-globals"])]:
            if flag in self.help:
                self.quick += words
            else:
                print(f"this cutover has no {flag}: its row has that work in it")

    def run(self) -> None:
        plain = self.measure.pipe(f"pg_dump -Fc -Z0 {self.database} | wc -c")
        self.plain = int(plain.out)
        print(f"{self.name}: the dump is {self.plain / 1e6:.0f} MB uncompressed\n")
        ways = {
            "ours": lambda: self.ours(self.quick),
            "peer": self.peer,
            "counts": lambda: self.ours(["--verify", "present"]),
            "read-back": lambda: self.ours([]),
            "gzip": lambda: self.ours([*self.quick, "--compression", "gzip"]),
            "discarded": lambda: self.ours(self.quick, True),
            "none": lambda: self.ours([*self.quick, "--compression", "none"], True),
            "null": lambda: self.measure.pipe(f"pg_dump -Fc -Z0 {self.database} > /dev/null"),
        }
        if "--compression" not in self.help:
            print("this cutover can't choose the compression: no row for gzip\n")
            del ways["gzip"]
        if self.given.way:
            ways = {name: way for name, way in ways.items() if name in self.given.way}
        measured: dict[str, list[Figures]] = {name: [] for name in ways}
        for run in range(self.given.runs + 1):
            for name, way in ways.items():
                # Once each, unmeasured: the first run reads executables and tables from disk.
                figures = way()
                if run:
                    measured[name].append(figures)
        table(measured)
        if {"ours", "peer"} <= measured.keys():
            verdict(f"{self.name}: ours to the peer", median(measured["ours"]) / median(measured["peer"]), GOAL_PEER)
        if {"discarded", "null"} <= measured.keys():
            verdict(f"{self.name}: discarded to pg_dump alone", median(measured["discarded"]) / median(measured["null"]), GOAL_NULL)
        if {"none", "null"} <= measured.keys():
            verdict(f"{self.name}: discarded without compression to pg_dump alone", median(measured["none"]) / median(measured["null"]), GOAL_NULL)
        most = max((one.mib for name in measured if name not in ("peer", "null") for one in measured[name]), default=0)
        verdict(f"{self.name}: most memory of ours, or of the pg_dump or pg_restore it runs", most, GOAL_MEMORY, " MiB")
        print()

    def ours(self, more: list[str], discarding: bool = False) -> Figures:
        self.times += 1
        prefix = f"{self.name}-{self.times}"
        command = [self.given.cutover, "backup-db", "--to", f"s3://{BUCKET}/{prefix}", "--format", "json", *more]
        extra = {"AWS_ENDPOINT_URL_S3": self.discarding.url} if discarding else {}
        figures = self.measure.run(command, extra)
        path = json.loads(figures.out)["outputs"]["manifest-uri"].removeprefix("s3://")
        server = self.discarding if discarding else self.storing
        manifest = json.loads(ask(server, "GET", path)[0])
        dump = f"{manifest['bucket']}/{manifest['key']}"
        _, found = ask(server, "HEAD", dump)
        if found != manifest["bytes"]:
            sys.exit(f"error: {path} says {manifest['bytes']} bytes, and the object has {found}")
        ask(server, "DELETE", dump)
        self.plausible(found, "ours")
        return figures

    def peer(self) -> Figures:
        self.times += 1
        key = f"{self.name}-{self.times}.dump"
        figures = self.measure.pipe(f"pg_dump -Fc {self.database} | {shlex.quote(str(self.aws))} s3 cp --only-show-errors - s3://{BUCKET}/{key}")
        _, found = ask(self.storing, "HEAD", f"{BUCKET}/{key}")
        self.plausible(found, "the peer")
        ask(self.storing, "DELETE", f"{BUCKET}/{key}")
        return figures

    def plausible(self, found: int, whose: str) -> None:
        least = 0.7 if self.name == "random" else 0.005
        if not least * self.plain <= found <= 1.05 * self.plain:
            sys.exit(f"error: {whose} stored {found} bytes of a dump of {self.plain}")


if __name__ == "__main__":
    main()
