"""What was found, as tables, as a picture, and held to the goals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .contenders import OURS, THEIRS
from .simulation import Outcome

Outcomes = Mapping[tuple[str, str], Outcome]
"""By world and contender."""

HEAD = ("", "p50", "p95", "p99", "whole, p95", "failed", "USD", "asked", "against policy")


def table(world: str, found: Outcomes) -> list[tuple[str, ...]]:
    """A row for each contender: seconds to the first token, of the whole call, and what came of it."""
    rows = [HEAD]
    for (where, name), outcome in found.items():
        if where == world:
            calls = len(outcome.ttft)
            rows.append(
                (
                    name,
                    *(f"{outcome.at(share):.2f}" for share in (0.5, 0.95, 0.99)),
                    f"{sorted(outcome.total)[int(0.95 * (calls - 1))]:.1f}",
                    f"{100 * outcome.failed / calls:.2f} %",
                    f"{outcome.usd:.2f}",
                    f"{outcome.asked / calls:.3f}",
                    str(outcome.violations),
                )
            )
    return rows


def plain(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )


def markdown(rows: Sequence[tuple[str, ...]]) -> str:
    lines = [rows[0], ("---", *("--:" for _ in rows[0][1:])), *rows[1:]]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def goals(found: Outcomes) -> list[str]:
    """Each goal of the README, in the worlds that were played, and whether it was reached."""
    worlds = list(dict.fromkeys(world for world, _ in found))
    lines: list[str] = []
    for world in worlds:
        theirs = [found[world, each.name] for each in THEIRS]
        best, thrifty = min(theirs, key=lambda each: each.at(0.99)), min(theirs, key=lambda each: each.usd)
        cheapest, balanced, fastest = (found[world, each.name] for each in OURS)
        if "outage" in world:
            lines.append(
                _line(
                    balanced.at(0.99) <= 0.6 * best.at(0.99) and balanced.usd <= 1.03 * best.usd,
                    f"{world}: balanced has {_less(balanced.at(0.99), best.at(0.99))} p99 than the best of the others"
                    f" ({best.contender}, {best.at(0.99):.2f} s), for {_less(balanced.usd, best.usd)} money",
                )
            )
        if world == "calm":
            quick = _less(fastest.at(0.99), best.at(0.99))
            lines.append(
                _line(
                    fastest.at(0.99) <= 1.03 * best.at(0.99),
                    f"{world}: fastest has {quick} p99 than the best of the others ({best.contender})",
                )
            )
            saved = _less(cheapest.usd, thrifty.usd)
            lines.append(
                _line(
                    cheapest.usd <= 1.03 * thrifty.usd,
                    f"{world}: cheapest spends {saved} than the best of the others ({thrifty.contender})",
                )
            )
            beaten = [
                each for each in theirs if balanced.at(0.99) > 1.03 * each.at(0.99) and balanced.usd > 1.03 * each.usd
            ]
            named = ", ".join(each.contender for each in beaten) or "nobody"
            lines.append(
                _line(not beaten, f"{world}: slower and dearer than balanced, by more than 3 % each, is {named}")
            )
    asked = sum(outcome.violations for outcome in found.values())
    lines.append(_line(not asked, f"everywhere: {asked} attempts against a tenant's policy"))
    return lines


def _less(ours: float, others: float) -> str:
    change = 100 * (ours / others - 1)
    return f"{abs(change):.1f} % {'less' if change <= 0 else 'more'}"


def _line(reached: bool, text: str) -> str:
    return f"{'reached' if reached else 'MISSED '}  {text}"


def picture(found: Outcomes, worlds: Iterable[str], path: Path) -> None:
    """Money against p99, a panel for each world."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "routesim"  # the same figures make the same file
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text: a third of the size
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    names = list(worlds)
    figure, panels = plt.subplots(1, len(names), figsize=(3.4 * len(names), 4.4), squeeze=False)
    looks = [*zip(THEIRS, ["#777777"] * 8, "o^v<>spX", strict=True)]
    looks += zip(OURS, ("#27632a", "#1f4e9c", "#c0392b"), "DDD", strict=True)
    for world, panel in zip(names, panels[0], strict=True):
        for each, colour, marker in looks:
            outcome = found[world, each.name]
            at = ([outcome.usd], [outcome.at(0.99)])
            panel.scatter(*at, color=colour, marker=marker, s=34, label=each.name, alpha=0.85)
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.set_xlim(left=0)
        panel.set_xlabel("spent, USD")
        panel.set_title(world)
        panel.margins(x=0.1, y=0.12)
    panels[0][0].set_ylabel("p99 time to first token, s")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.16, 1, 1))
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
