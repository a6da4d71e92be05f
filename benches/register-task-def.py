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
import sys
import tempfile
from pathlib import Path

from common import AWS_CLI, Emulator, Figures, Measure, arguments, heading, median, parsed, peer, table, verdict

GOAL_TIME, GOAL_MEMORY = 1 / 20, 1 / 5


def main() -> None:
    given = parsed(arguments(__doc__, 15))
    with tempfile.TemporaryDirectory() as scratch, Emulator(Path(scratch)) as emulator:
        bench = Bench(Path(scratch), emulator, given.cutover)
        bench.first_revision()
        # Once each, unmeasured: the first run reads executable and modules from disk.
        bench.ours(0)
        bench.theirs(0)
        measured = {"ours": [], "the AWS CLI": []}
        for run in range(1, given.runs + 1):
            measured["ours"].append(bench.ours(run))
            measured["the AWS CLI"].append(bench.theirs(run))
        heading(given.cutover, given.runs)
        table(measured)
        print(f"no process measures as less than its launcher: {bench.measure.run(['true']).mib:.1f} MiB\n")
        ours, theirs = measured.values()
        verdict("a revision registered: wall time, to the AWS CLI's", median(ours) / median(theirs), GOAL_TIME)
        verdict("a revision registered: peak memory, to the AWS CLI's", median(ours, "mib") / median(theirs, "mib"), GOAL_MEMORY)


class Bench:
    def __init__(self, scratch: Path, emulator: Emulator, cutover: Path) -> None:
        self.cutover = cutover
        self.aws = peer(AWS_CLI, "aws")
        self.file = scratch / "revision.json"
        self.measure = Measure(scratch, emulator.environment(scratch))

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

    def register(self, document: dict) -> Figures:
        self.file.write_text(json.dumps(document))
        return self.measure.run([self.aws, "ecs", "register-task-definition", "--cli-input-json", f"file://{self.file}"])

    def ours(self, run: int) -> Figures:
        command = [self.cutover, "register-task-def", "--family", "bench", "--env", f"app:RUN=ours-{run}"]
        figures = self.measure.run(command)
        if "registered bench:" not in figures.out:
            sys.exit(f"error: ours registered nothing: {figures.out}")
        return figures

    def theirs(self, run: int) -> Figures:
        describe = [self.aws, "ecs", "describe-task-definition", "--task-definition", "bench", "--include", "TAGS"]
        described = self.measure.run(describe)
        document = json.loads(described.out)["taskDefinition"]
        read_only = ["taskDefinitionArn", "revision", "status", "requiresAttributes", "compatibilities"]
        for field in [*read_only, "registeredAt", "registeredBy", "deregisteredAt", "deleteRequestedAt"]:
            document.pop(field, None)
        environment = document["containerDefinitions"][0]["environment"]
        environment[:] = [item for item in environment if item["name"] != "RUN"]
        environment.append({"name": "RUN", "value": f"theirs-{run}"})
        registered = self.register(document)
        both = described.wall + registered.wall, described.cpu + registered.cpu, max(described.mib, registered.mib)
        return Figures(*both, registered.out)


if __name__ == "__main__":
    main()
