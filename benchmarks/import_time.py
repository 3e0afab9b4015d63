"""What `import planar` costs beside `import httpx`: CPU seconds of whole processes, in turn.

    python benchmarks/import_time.py [ROUNDS]

Each figure is the processor time of a process that only imports, less that of one that imports nothing, measured
in the same round.
"""

from __future__ import annotations

import os
import statistics
import sys

CASES = {
    "nothing": "pass",
    "import planar": "import planar",
    "import httpx": "import httpx",
    "planar, client and first provider": (
        "import planar; planar.Planar(providers=[planar.OpenAI(api_key='x', base_url='http://127.0.0.1:9')])"
    ),
}


def cpu_seconds(code: str) -> float:
    child = os.posix_spawn(sys.executable, [sys.executable, "-c", code], os.environ)
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit(f"failed: {code}")
    return used.ru_utime + used.ru_stime


def main(rounds: int) -> None:
    for code in CASES.values():
        cpu_seconds(code)
    taken: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(rounds):
        for name, code in CASES.items():
            taken[name].append(cpu_seconds(code))
    base = taken.pop("nothing")
    net = {name: [used - least for used, least in zip(each, base, strict=True)] for name, each in taken.items()}
    print(f"{'':36}  CPU ms  x import httpx (median, min-max of {rounds})")
    for name, each in net.items():
        ratios = [one / other for one, other in zip(each, net["import httpx"], strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"{name:36}  {statistics.median(each) * 1000:6.1f}  {spread}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
