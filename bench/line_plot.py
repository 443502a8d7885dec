"""Lines over an axis as SVG text: what the documents show of a benchmark. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Final
from xml.sax.saxutils import escape

WIDTH: Final = 640
HEIGHT: Final = 360
LEFT: Final = 60
RIGHT: Final = 170
TOP: Final = 36
BOTTOM: Final = 48
TICKS: Final = 5
COLOURS: Final = ("#888888", "#e69f00", "#0072b2", "#009e73", "#cc79a7")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Both axes begin at zero; what lies beyond `most` is drawn at it."""

    title: str
    across: str
    up: str
    lines: Sequence[Line]
    most: float | None = None
    """The upper end of the axis; else the highest point."""

    @property
    def highest(self) -> float:
        return self.most or max(y for line in self.lines for _, y in line.points) or 1.0

    @property
    def furthest(self) -> float:
        return max(x for line in self.lines for x, _ in line.points)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """In the picture, whose y goes downwards."""
        across = LEFT + x / self.furthest * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - min(1.0, y / self.highest) * (HEIGHT - TOP - BOTTOM)


def render_plot(plot: Plot) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="11">'
    )
    return "\n".join([head, *_draw_frame(plot), *_draw_lines(plot), "</svg>", ""])


def _draw_frame(plot: Plot) -> Iterator[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    yield _text(LEFT, 20, plot.title, 'font-size="13"')
    yield _text((LEFT + right) / 2, HEIGHT - 10, plot.across, 'text-anchor="middle"')
    middle = (TOP + bottom) / 2
    yield _text(14, middle, plot.up, f'text-anchor="middle" transform="rotate(-90 14 {middle:g})"')
    for tick in range(TICKS + 1):
        share = tick / TICKS
        x, y = plot.place(share * plot.furthest, share * plot.highest)
        yield f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#dddddd"/>'
        yield _text(LEFT - 6, y + 4, f"{share * plot.highest:.3g}", 'text-anchor="end"')
        yield _text(x, bottom + 16, f"{share * plot.furthest:.3g}", 'text-anchor="middle"')


def _draw_lines(plot: Plot) -> Iterator[str]:
    for number, (line, colour) in enumerate(zip(plot.lines, cycle(COLOURS), strict=False)):
        places = [plot.place(x, y) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield _text(WIDTH - RIGHT + 10, TOP + 12 + 16 * number, line.name, f'fill="{colour}"')


def _text(x: float, y: float, words: str, attributes: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(words)}</text>'
