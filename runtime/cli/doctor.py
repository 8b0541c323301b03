"""`dmd-doctor`: what is installed, what clashes, which device would be used, and the remedies."""

import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import NoReturn

from runtime.cli import console
from runtime.machine.doctor import Report, examine
from runtime.machine.tensorrt_editions import EXTRAS


def main() -> NoReturn:
    parser = console.Parser(
        "dmd-doctor",
        "Show what is installed, what clashes, which device would be used, and how to fix what is "
        "wrong. Nothing is installed or changed. The exit code is 0 if a device can be used and "
        "nothing clashes, else 1.",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object: device, healthy, software, providers, driver, cuda, gpus, "
        "clashes, devices",
    )
    args = parser.parse_args()
    console.run(parser.prog, lambda: diagnose(args.json))


def diagnose(as_json: bool) -> int:
    """Print the report. Returns the exit code."""
    with redirect_stdout(sys.stderr):  # modules that cannot be loaded may print why
        report = examine()
    if as_json:
        keys = {"device": report.device, "healthy": report.healthy} | asdict(report)
        print(json.dumps(keys, indent=2))
    else:
        for line in _lines(report):
            console.tell(line)
    return 0 if report.healthy else console.FAILED


def _lines(report: Report) -> Iterator[str]:
    yield "Installed"
    for software in report.software:
        version = software.version or "not installed"
        brought = [
            f"{name} {number}"
            for name, number in software.distributions.items()
            if name != software.name
        ]
        listed = f" ({', '.join(brought)})" if brought else ""
        yield f"  {software.name:<18}{version}{listed}"
    yield f"  {'providers':<18}{', '.join(report.providers) or 'none'}"
    runs = f", runs CUDA up to {report.cuda}" if report.cuda else ""
    yield f"  {'NVIDIA driver':<18}{report.driver or 'unknown release'}{runs}"
    for gpu in report.gpus:
        memory = f"{gpu.memory / 2**30:.1f} GiB"
        yield f"  {'GPU':<18}{gpu.name}, compute capability {gpu.capability}, {memory}"
    yield "Clashes"
    yield from [f"  {clash.problem}" for clash in report.clashes] or ["  none"]
    yield "Devices, of which the first that can be used is taken"
    for device in report.devices:
        why = "; ".join(finding.problem for finding in device.findings)
        engine = ", if the bundle holds an engine for this GPU" * (device.name in EXTRAS.values())
        yield f"  {device.name:<18}{f'no: {why}' if why else f'yes{engine}'}"
    yield f"Would be used: {report.device or 'none'}"
    findings = [*report.clashes, *(found for device in report.devices for found in device.findings)]
    if findings:
        yield "How to fix it"
    for finding in dict.fromkeys(findings):
        yield f"  {finding.problem}"
        yield f"      {finding.remedy}"
