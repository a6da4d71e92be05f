#!/usr/bin/env python3
"""Runs the benches one after the other and puts what each came to into the table of docs/performance.md.

    benches/all.py [--cutover FILE] [BENCH ...]

Without names, all of them. The rows of a bench that is not run, or whose peers or servers are not to be had here, stay as
they are; why it was not run is said, and the exit code is 1 then.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import ROOT, built

BENCHES = ["start-up", "size", "clean-build", "register-task-def", "changeset-review", "copy-objects", "backup-db"]
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- table -->\n", "<!-- end -->"
HEAD = "| bench | measured on | of | figure | goal, at most | |\n|---|---|---|---|---|---|\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cutover", type=Path, help="the executable [default: the newest of the target folder, release first]")
    parser.add_argument("bench", nargs="*", help=", ".join(BENCHES))
    given = parser.parse_args()
    if unknown := set(given.bench) - set(BENCHES):
        parser.error(f"there is no bench {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    cutover = (given.cutover or built()).resolve()
    missing = []
    for bench in given.bench or BENCHES:
        print(f"\n## {bench}\n", flush=True)
        rows = run(bench, cutover)
        if rows is None:
            missing.append(bench)
        else:
            put(bench, rows, "static" if "-musl" in str(cutover) else "")
    if missing:
        sys.exit(f"error: not run to the end: {', '.join(missing)}; the reasons stand above")


def run(bench: str, cutover: Path) -> list[list[str]] | None:
    with tempfile.NamedTemporaryFile("r") as rows:
        command = [sys.executable, ROOT / "benches" / f"{bench}.py", "--cutover", cutover]
        ended = subprocess.run(command, env={**os.environ, "CUTOVER_BENCH_ROWS": rows.name})
        return [json.loads(line) for line in rows] if ended.returncode == 0 else None


def put(bench: str, rows: list[list[str]], build: str) -> None:
    """Replaces the rows of one bench; the others keep theirs, and the day they were measured."""
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    written, after = rest.split(END)
    kept: dict[str, list[str]] = {name: [] for name in BENCHES}
    for line in written.splitlines():
        name = line.removeprefix("| ").split(" |")[0].strip("`")
        if name in kept and name != bench:
            kept[name].append(line)
    on = f"{time.strftime('%Y-%m-%d', time.gmtime())}, {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}{build and f', {build}'}"
    for what, figure, goal, met in rows:
        kept[bench].append(f"| `{bench}` | {on} | {what} | {figure} | {goal} | {met} |")
    table = HEAD + "".join(f"{line}\n" for lines in kept.values() for line in lines)
    PAGE.write_text(f"{before}{BEGIN}{table}{END}{after}")


if __name__ == "__main__":
    main()
