"""The plots that documents show of the records. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from bench.engine.findings import Figures
from bench.line_plot import Line, Plot

_WHERE: Final = "one process"
_TURNS: Final = "turns at once"


def list_plots(figures: Figures) -> Mapping[str, Plot]:
    """By name, those whose figures there are."""
    ttfa = Plot(
        title="Time to the first sound",
        across=_TURNS,
        up="s",
        lines=[
            _line(figures, "Tercet", "TTFA", "turns", 1e-3, where=_WHERE),
            _line(figures, "transformers, time to audio", "transformers, time to audio", "turns", 1e-3),
        ],
    )
    rtf = Plot(
        title="Seconds until the last sound, a second of sound",
        across=_TURNS,
        up="RTF",
        lines=[
            _line(figures, "Tercet", "RTF", "turns", where=_WHERE),
            _line(figures, "transformers", "transformers, RTF", "turns"),
        ],
    )
    rate = Plot(
        title="Thinker: tokens a second while decoding",
        across=_TURNS,
        up="tok/s",
        lines=[
            _line(figures, "Tercet", "thinker", "turns", unit="tok/s"),
            _line(figures, "transformers", "transformers, thinker", "turns", unit="tok/s"),
        ],
    )
    prompt = Plot(
        title="First token after a prompt",
        across="letters, about as many tokens",
        up="s",
        lines=[
            _line(figures, "a new prompt", "prompt, first token", "letters", 1e-3),
            _line(figures, "a known one", "known prompt, first token", "letters", 1e-3),
        ],
    )
    plots = {"ttfa": ttfa, "rtf": rtf, "rate": rate, "prompt": prompt}
    return {name: plot for name, plot in plots.items() if all(line.points for line in plot.lines)}


def _line(
    figures: Figures,
    title: str,
    name: str,
    along: str,
    scale: float = 1.0,
    /,
    *,
    unit: str | None = None,
    **facts: str,
) -> Line:
    places = sorted(set(figures.values(name, along)))
    found = ((place, figures.find(name, unit, **{along: place}, **facts)) for place in places)
    return Line(name=title, points=list(_known(found, scale)))


def _known(found: Iterable[tuple[float, float | None]], scale: float) -> Iterator[tuple[float, float]]:
    for place, value in found:
        if value is not None:
            yield place, value * scale
