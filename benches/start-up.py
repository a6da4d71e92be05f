#!/usr/bin/env python3
"""What it costs to start at all: `--help`, and a step that only asks, beside the AWS CLI.

    help    cutover register-task-def --help, against aws --version (aws help starts a pager's program besides)
    asks    cutover register-task-def --dry-run, which asks STS who it is and ECS for the newest revision, against
            aws sts get-caller-identity and aws ecs describe-task-definition, which ask the same

Runs alternate; printed are medians of wall time, and the largest peak of resident memory.
"""

import json
import tempfile
from pathlib import Path

from common import AWS_CLI, Emulator, Measure, arguments, heading, median, parsed, peer, table, verdict

GOAL_HELP, GOAL_MEMORY, GOAL_ASKS = 3, 8, 1 / 30


def main() -> None:
    given = parsed(arguments(__doc__, 25))
    aws = peer(AWS_CLI, "aws")
    with tempfile.TemporaryDirectory() as folder, Emulator(Path(folder)) as emulator:
        scratch = Path(folder)
        measure = Measure(scratch, emulator.environment(scratch))
        revision = scratch / "revision.json"
        container = {"name": "app", "image": "public.ecr.aws/nginx/nginx:1.27", "memory": 64}
        revision.write_text(json.dumps({"family": "bench", "containerDefinitions": [container]}))
        measure.run([aws, "ecs", "register-task-definition", "--cli-input-json", f"file://{revision}"])
        ours = [given.cutover, "register-task-def"]
        commands = {
            "ours, `--help`": [*ours, "--help"],
            "`aws --version`": [aws, "--version"],
            "ours, two calls": [*ours, "--family", "bench", "--env", "app:RUN=1", "--dry-run"],
            "`aws`, the first": [aws, "sts", "get-caller-identity"],
            "`aws`, the second": [aws, "ecs", "describe-task-definition", "--task-definition", "bench"],
            "the launcher alone": ["true"],
        }
        measured = {name: [] for name in commands}
        for run in range(given.runs + 1):
            for name, command in commands.items():
                # Once each, unmeasured: the first run reads executable and modules from disk.
                figures = measure.run(command)
                if run:
                    measured[name].append(figures)
    heading(given.cutover, given.runs)
    table(measured)
    # The launcher is no part of what is measured.
    wall = {name: median(figures) - median(measured["the launcher alone"]) for name, figures in measured.items()}
    verdict("`--help`: wall time", wall["ours, `--help`"] * 1000, GOAL_HELP, " ms")
    verdict("`--help`: peak memory", max(one.mib for one in measured["ours, `--help`"]), GOAL_MEMORY, " MiB")
    theirs = wall["`aws`, the first"] + wall["`aws`, the second"]
    verdict("two calls: wall time, to the same two by the AWS CLI", wall["ours, two calls"] / theirs, GOAL_ASKS)


if __name__ == "__main__":
    main()
