#!/usr/bin/env python3
"""What a job has to fetch: the executable with all steps, compressed as release.yml compresses the image's layers (zstd 19), against
the programs that it is used in the place of. The image has nothing else in it but root certificates (0.2 MB).

The AWS CLI is measured by its own files, without the Python that it needs; s5cmd and rclone are single executables.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from common import AWS_CLI, RCLONE, S5CMD, built, figure, peer, verdict

GOAL_MIB = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cutover", type=Path, help="the executable [default: the newest of the target folder, release first]")
    cutover = (parser.parse_args().cutover or built()).resolve()
    if not shutil.which("zstd"):
        sys.exit("error: there is no zstd\n  help: apt-get install zstd")
    libraries = next((peer(AWS_CLI, "aws").parent.parent / "lib").glob("python*/site-packages"))
    places = {
        "ours, all steps": [cutover],
        "the AWS CLI": [folder for name in ["awscli", "botocore", "s3transfer"] for folder in libraries.glob(name)],
        "s5cmd": [program(S5CMD, "s5cmd")],
        "rclone": [program(RCLONE, "rclone")],
    }
    print("| | size, MB | compressed, MB |\n|---|---|---|")
    compressed = {}
    for name, paths in places.items():
        size = int(subprocess.run(["du", "-cb", *paths], check=True, capture_output=True, text=True).stdout.split()[-2])
        compressed[name] = packed(paths)
        print(f"| {name} | {size / 1e6:.1f} | {compressed[name] / 1e6:.1f} |")
    print()
    ours = compressed.pop("ours, all steps")
    verdict("all steps, compressed", ours / 2**20, GOAL_MIB, " MiB")
    for name, theirs in compressed.items():
        figure(f"all steps, compressed, to {name}", f"{ours / theirs:.2f}")


def program(requirement: str, name: str) -> Path:
    """The executable itself, where the package's own is a launcher."""
    launcher = peer(requirement, name)
    largest = max(launcher.parent.parent.rglob(f"{name}*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    return largest if largest.stat().st_size > launcher.stat().st_size else launcher


def packed(paths: list[Path]) -> int:
    tar = ["tar", "--create", "--sort=name", "--exclude=__pycache__", *(f"--directory={path.parent}" for path in paths[:1]), *(path.name for path in paths)]
    with subprocess.Popen(tar, stdout=subprocess.PIPE) as archive:
        out = subprocess.run(["zstd", "-19", "--quiet"], stdin=archive.stdout, check=True, capture_output=True, env=os.environ)
    return len(out.stdout)


if __name__ == "__main__":
    main()
