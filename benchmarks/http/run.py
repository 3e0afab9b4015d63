"""Planar beside the libraries under it and a vendor's SDK, on this machine, against one upstream on loopback.

    python benchmarks/http/run.py --rounds 5 --python openai=/path/to/python/with/openai

Each contender runs in a process of its own on one core, the upstream on another, in rounds A B C A B C. Printed are
the median and the median ratio to the first contender, taken round by round: absolute figures drift with the machine,
ratios hold. `--upstream` uses a server that runs already and knows the model names of `mock.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from scenarios import SCENARIOS

HERE = Path(__file__).parent
CONTENDERS = ("floor", "httpx", "planar-httpx", "httpx2", "planar-httpx2", "aiohttp", "planar-aiohttp", "openai")
Figures = dict[tuple[str, str], list[float | None]]


def main() -> None:
    options = arguments()
    names = options.contenders.split(",")
    scenarios = options.scenarios.split(",")
    pythons = dict(pair.split("=", 1) for pair in options.python)
    cores = sorted(os.sched_getaffinity(0))
    figures: Figures = {(name, scenario): [] for name in names for scenario in scenarios}
    upstream, url = (None, options.upstream) if options.upstream else start_upstream(cores[-1])
    try:
        for number in range(options.rounds):
            for name in names:
                print(f"round {number + 1} of {options.rounds}: {name}", file=sys.stderr)
                found = measure(name, url, scenarios, options.seconds, pythons.get(name, sys.executable), cores[0])
                for scenario in scenarios:
                    figures[name, scenario].append(found.get(scenario))
    finally:
        if upstream is not None:
            upstream.terminate()
            upstream.wait()
    print(table(figures, names, scenarios))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contenders", default=",".join(CONTENDERS))
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each scenario")
    parser.add_argument("--upstream", help="base URL of a server that runs already")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH", help="another interpreter")
    return parser.parse_args()


def start_upstream(core: int) -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, HERE / "mock.py", str(port)])
    os.sched_setaffinity(process.pid, {core})
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process, f"http://127.0.0.1:{port}"
        time.sleep(0.05)
    raise SystemExit("the upstream did not start")


def measure(name: str, url: str, scenarios: list[str], seconds: float, python: str, core: int) -> dict[str, float]:
    """One contender's figures; a scenario that failed has none, and its error is on stderr."""
    process = subprocess.Popen(
        [python, HERE / "scenarios.py", name, url, ",".join(scenarios), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    os.sched_setaffinity(process.pid, {core})
    output, _ = process.communicate(timeout=600)
    lines = (json.loads(line) for line in output.splitlines())
    return {line["scenario"]: line["value"] for line in lines}


def table(figures: Figures, names: list[str], scenarios: list[str]) -> str:
    titles = [SCENARIOS[scenario][0] for scenario in scenarios]
    rows = ["| | " + " | ".join(titles) + " |", "| --- |" + " --- |" * len(titles)]
    for name in names:
        cells = [cell(figures[name, scenario], figures[names[0], scenario]) for scenario in scenarios]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def cell(values: list[float | None], first: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    ratios = [value / other for value, other in zip(values, first, strict=True) if value is not None and other]
    ratio = f" ({statistics.median(ratios):.2f}x)" if ratios else ""
    return f"{figure(statistics.median(known))}{ratio}"


def figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
