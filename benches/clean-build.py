#!/usr/bin/env python3
"""The first build of all on a machine that has the crates already: debug, as `make test` and `make rehearse` need it, into an
empty folder, which goes again. One run: it takes minutes.
"""

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

from common import ROOT, figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cutover", type=Path, help="not used: it is built")
    parser.parse_args()
    cargo = ["cargo", "build", "--locked", "--quiet"]
    subprocess.run(["cargo", "fetch", "--locked", "--quiet"], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as target:
        began = time.perf_counter()
        subprocess.run(cargo, cwd=ROOT, check=True, env={**os.environ, "CARGO_TARGET_DIR": target})
        took = time.perf_counter() - began
        size = sum(file.lstat().st_size for file in Path(target).rglob("*") if file.is_file())
    figure("clean build, debug, the whole workspace", f"{took / 60:.1f} min, {size / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
