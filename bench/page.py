"""The page of the scoreboard: Markdown and SVG plots, drawn from the results file and from nothing else."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from bench.row import Row, figure, printed

PAGE = "scoreboard.md"
TITLES = {
    "projection": "Projections: live, and rebuilt",
    "rebuild": "Rebuilding real read models",
    "store": "The event store",
    "fhir": "FHIR in and out",
    "writing": "Writing over HTTP",
    "reading": "Reading over HTTP",
    "access": "Recording who reads",
    "mllp": "HL7 v2 over MLLP",
    "client": "The Kafka client",
    "codec": "The codec",
    "spine": "From a bundle to a readable row, and the bytes it takes",
    "freshness": "Freshness under load",
    "growth": "As the data grow",
    "gate": "The gate",
    "proof": "The proof",
    "fsck": "Checking all copies",
}
INTRO = """# The scoreboard

This page and its plots are made by `make bench`; nothing on it is written by hand. Each row is ours against a peer on \
the same input, the same machine and in the same run (unless the peer's name says otherwise), or ours against a goal; \
**times** is how many times better ours is, so that a figure below 1 is a row that we lose. Figures from another \
machine will differ; run it on yours.
"""


def write(results: dict[str, Any], folder: Path) -> None:
    """Draw the plots into ``folder`` and write the page: beside the explanations, where ``folder`` is in docs."""
    benches = [(name, results["benches"][name]) for name in TITLES if name in results["benches"]]
    explanation = folder.parent / "explanation"
    page = (explanation if explanation.is_dir() else folder) / PAGE
    to_plots = "../scoreboard/" if explanation.is_dir() else ""
    parts = [INTRO, _machine(results["machine"])]
    if any(bench["short"] for _, bench in benches):
        parts.append("**A short run: it shows that everything works; its figures mean nothing.**\n")
    if any("times" in row for _, bench in benches for row in bench["rows"]):
        _plot_times(benches, folder / "times.svg")
        parts.append(f"![How many times better than each peer]({to_plots}times.svg)\n")
    for name, bench in benches:
        parts.append(_section(name, bench))
        if name in ("growth", "freshness") and bench["rows"]:
            _plot_lines(bench["rows"], folder / f"{name}.svg")
            parts.append(f"![{TITLES[name]}]({to_plots}{name}.svg)\n")
    page.write_text("\n".join(parts), encoding="utf-8")


def _machine(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"**Machine:** {machine['processor']}, {machine['processors']} processors, {machine['memory_gib']} GiB, "
        f"{machine['system']}, {machine['python']}. **Libraries:** {versions}.\n"
    )


def _section(name: str, bench: dict[str, Any]) -> str:
    rows = bench["rows"]
    when = bench["date"][:16].replace("T", " ")
    about = f"`make bench BENCH={name}`: {when} UTC, commit {bench['commit']}, load {bench['load']} before, "
    about += f"{bench['seconds']:.0f} s; "
    about += f"a loop in Python made {bench['additions']:.0f} million additions a second."
    lines = [f"## {TITLES[name]}\n", _how(name), about + "\n"]
    if rows:
        lines.append("| row | ours | peer | theirs | times | goal | met |\n|---|---|---|---|---|---|---|")
        for row in rows:
            cells = printed(row)
            theirs = f"{cells['theirs']} {cells['unit']}" if cells["theirs"] else ""
            verdict = {"yes": "yes", "NO": "**no**"}.get(cells["met"], "")
            columns = (
                cells["row"],
                f"{cells['value']} {cells['unit']}",
                cells["peer"],
                theirs,
                cells["times"],
                cells["goal"],
                verdict,
            )
            lines.append("| " + " | ".join(column.replace("|", "\\|") for column in columns) + " |")
        lines.append("")
        notes = dict.fromkeys(f"- {row['row']}: {row['note']}" for row in rows if row.get("note"))
        lines += [*notes, ""]
    if bench["problem"]:
        lines.append(f"Not all of it ran: {bench['problem'].removeprefix('NotRun: ')}\n")
    return "\n".join(lines)


def _how(name: str) -> str:
    """What is measured and what each side does: the head of the benchmark's file."""
    tree = ast.parse((Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "") + "\n"


def _plot_times(benches: list[tuple[str, dict[str, Any]]], path: Path) -> None:
    """One bar for each row with a peer, on a logarithmic axis around 1; a mark where the goal is."""
    rows = [row for _, bench in benches for row in bench["rows"] if "times" in row]
    figure_, axes = _figure(10, 0.9 + 0.32 * len(rows))
    places = range(len(rows), 0, -1)
    colours = ["#2f7d4f" if row["times"] >= 1 else "#b5452c" for row in rows]
    axes.barh(places, [row["times"] - 1 for row in rows], left=1, color=colours, height=0.7)
    for place, row in zip(places, rows, strict=True):
        if row.get("times_goal"):
            axes.plot([row["times_goal"]] * 2, [place - 0.42, place + 0.42], color="#222222", linewidth=2)
        right = row["times"] >= 1
        axes.annotate(
            f"{row['times']:.2f}×",
            (row["times"], place),
            xytext=(4 if right else -4, 0),
            textcoords="offset points",
            va="center",
            ha="left" if right else "right",
            fontsize=7,
        )
    axes.set_xscale("log")
    low, high = min(row["times"] for row in rows), max(row["times"] for row in rows)
    axes.set_xlim(min(0.4, low / 1.6), max(4.0, high * 1.8))
    axes.axvline(1, color="#222222", linewidth=0.8)
    axes.set_yticks(list(places), [f"{row['row']}  ·  {row['peer']}" for row in rows], fontsize=7)
    axes.set_ylim(0.3, len(rows) + 0.7)
    axes.set_xlabel("times better than the peer (the black mark: the goal)", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    _save(figure_, path)


def _plot_lines(rows: list[Row], path: Path) -> None:
    """One line for each series: rows that say ``series`` and ``at``."""
    figure_, axes = _figure(7, 3.6)
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if "series" in row:
            series.setdefault(f"{row['series']}, {row['unit']}", []).append((row["at"], row["value"]))
    for name, points in series.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    first = next(row for row in rows if "series" in row)
    axes.set_xscale("log")
    axes.set_xticks(
        sorted({row["at"] for row in rows if "series" in row}),
        [figure(at) for at in sorted({row["at"] for row in rows if "series" in row})],
    )
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel(first["at_unit"], fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7)
    _save(figure_, path)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "epicrisis"  # the same figures, the same file
    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")


def _save(figure_: Any, path: Path) -> None:
    from matplotlib import pyplot

    for side in ("top", "right"):
        figure_.axes[0].spines[side].set_visible(False)
    figure_.savefig(path, metadata={"Date": None})
    pyplot.close(figure_)
