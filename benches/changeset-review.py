#!/usr/bin/env python3
"""changeset-review over recorded pages: a change set of 500 resources in five nested stacks, described twice.

    ours    cutover changeset-review --from-file PAGE ... --report FILE
    jq      the same pages read by jq, one line for each change that removes or replaces (what people script today);
            left out, and said so, where jq is not installed
    python  the same by Python's json module

The pages are made by this script after AWS's service model: a root with five nested stacks, each of 100 changes in four pages of
25, plain and with property values; every tenth change replaces a table, half of which were given a name of their own. Ours also
judges, compares the properties before and after, writes the report and prints the review. Runs alternate; printed are medians of
CPU time (user and system, from wait4), wall time and peak resident memory. Goal of ours: 0.1 s of CPU time and 30 MiB.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from common import Measure, arguments, heading, median, parsed, table, verdict

GOAL_CPU, GOAL_MEMORY = 100, 30
NESTED, CHANGES, PAGE = 5, 100, 25
ARN = "arn:aws:cloudformation:us-east-1:123456789012"

READ = """
import json, sys
for path in sys.argv[1:]:
    for change in json.load(open(path))["Changes"]:
        change = change["ResourceChange"]
        if change["Action"] == "Remove" or change.get("Replacement") == "True":
            print(change["LogicalResourceId"], change["ResourceType"], change["Action"], change.get("PolicyAction"))
"""
JQ = (
    '.Changes[].ResourceChange | select(.Action == "Remove" or .Replacement == "True")'
    ' | [.LogicalResourceId, .ResourceType, .Action, .PolicyAction] | @tsv'
)


def main() -> None:
    given = parsed(arguments(__doc__, 15))
    cutover = given.cutover
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pages = write_pages(folder)
        report = folder / "review.json"
        commands = {
            "ours": [str(cutover), "changeset-review", *(f"--from-file={page}" for page in pages), f"--report={report}"],
            "python": [sys.executable, "-c", READ, *pages],
        }
        if shutil.which("jq"):
            commands["jq"] = ["jq", "-r", JQ, *pages]
        measured = {name: [] for name in commands}
        measure = Measure(folder, {"PATH": os.environ["PATH"], "HOME": scratch})
        for run in range(given.runs + 1):
            for name, command in commands.items():
                # Once each, unmeasured: the first run reads executable and modules from disk.
                figures = measure.run(command, expected=3 if name == "ours" else 0)
                if run:
                    measured[name].append(figures)
        rows = sum(len(stack["rows"]) for stack in json.loads(report.read_text())["stacks"])
        if rows != NESTED * CHANGES + NESTED:
            sys.exit(f"error: the review has {rows} rows, and {NESTED * CHANGES + NESTED} changes were given")
        heading(cutover, given.runs)
        size = sum(os.path.getsize(page) for page in pages) / 1024
        print(f"{len(pages)} pages, {size:.0f} KiB, {NESTED * CHANGES} changes in {NESTED} nested stacks\n")
        table(measured)
        for name in [name for name in measured if name != "ours"]:
            print(f"ours to {name}: CPU {median(measured['ours'], 'cpu') / median(measured[name], 'cpu'):.2f}")
        verdict("500 changes reviewed: CPU time", median(measured["ours"], "cpu") * 1000, GOAL_CPU, " ms")
        verdict("500 changes reviewed: peak memory", max(one.mib for one in measured["ours"]), GOAL_MEMORY, " MiB")


def write_pages(folder: Path) -> list[str]:
    """Every page of both descriptions of the root and of the nested sets."""
    pages = []

    def put(name: str, stack: str, changes: list, token: str | None) -> None:
        answer = {
            "ChangeSetId": f"{ARN}:changeSet/bench/{stack}",
            "ChangeSetName": "bench",
            "StackId": f"{ARN}:stack/{stack}/1",
            "StackName": stack,
            "Status": "CREATE_COMPLETE",
            "ExecutionStatus": "AVAILABLE" if stack == "root" else "UNAVAILABLE",
            "Changes": [{"Type": "Resource", "ResourceChange": change} for change in changes],
        }
        if token:
            answer["NextToken"] = token
        path = folder / f"{name}.json"
        path.write_text(json.dumps(answer))
        pages.append(str(path))

    nested = [
        {
            "Action": "Modify",
            "LogicalResourceId": f"Nested{n}",
            "PhysicalResourceId": f"{ARN}:stack/nested-{n}/1",
            "ResourceType": "AWS::CloudFormation::Stack",
            "Replacement": "False",
            "Scope": ["Properties"],
            "ChangeSetId": f"{ARN}:changeSet/bench/nested-{n}",
            "Details": [],
        }
        for n in range(NESTED)
    ]
    put("root", "root", nested, None)
    for n in range(NESTED):
        for values in [False, True]:
            for first in range(0, CHANGES, PAGE):
                changes = [change(k, values) for k in range(first, first + PAGE)]
                token = None if first + PAGE == CHANGES else str(first + PAGE)
                put(f"nested-{n}-{'values' if values else 'plain'}-{first}", f"nested-{n}", changes, token)
    return pages


def change(k: int, values: bool) -> dict:
    replaced = k % 10 == 0
    kind = "AWS::DynamoDB::Table" if k % 2 == 0 else "AWS::Lambda::Function"
    name = "KeySchema" if replaced else "Description"
    target = {"Attribute": "Properties", "Name": name, "RequiresRecreation": "Always" if replaced else "Never"}
    made = {
        "Action": "Modify",
        "LogicalResourceId": f"Resource{k}",
        "PhysicalResourceId": f"resource-{k}",
        "ResourceType": kind,
        "Replacement": "True" if replaced else "False",
        "Scope": ["Properties"],
        "Details": [{"Target": target, "Evaluation": "Static", "ChangeSource": "ParameterReference", "CausingEntity": "Key"}],
    }
    if replaced:
        made["PolicyAction"] = "ReplaceAndDelete"
    if values:
        target["Path"] = f"/Properties/{name}"
        properties = {"Description": "x" * 200, "KeySchema": [{"AttributeName": "a", "KeyType": "HASH"}]}
        if k % 20 == 0:
            properties["TableName"] = f"table-{k}"
        made["BeforeContext"] = json.dumps({"Properties": properties})
        made["AfterContext"] = json.dumps({"Properties": {**properties, name: "y"}})
        target["BeforeValue"], target["AfterValue"] = "x" * 200, "y"
    return made


if __name__ == "__main__":
    main()
