"""The overview's picture: where each service stands, and the lines between them.

Cards stand on a grid of four columns and three rows; the lines behind them are drawn in hundredths
of its width and height, so that they fit at any size.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ecommerce.messaging.flows import PEOPLE

from .traffic import Edge, edges, name

PLACES = {
    PEOPLE: (0, 1),
    "orders": (1, 1),
    "inventory": (2, 0),
    "payments": (2, 1),
    "shipping": (2, 2),
    "customers": (3, 0),
    "notifications": (3, 1),
    "analytics": (3, 2),
}
"""Column and row of each."""
COLUMNS = ((0.0, 10.5), (17.5, 40.33), (47.33, 70.17), (77.17, 100.0))
"""Where the columns of the grid begin and end, as in the stylesheet."""
ROWS = (14.5, 50.0, 85.5)
GAPS = (32.2, 67.8)
"""The middles of the rows, and of the gaps between them."""
APART = 1.6


@dataclass(frozen=True)
class Line:
    """A flow in the picture."""

    name: str
    path: str
    title: str


def lines() -> list[Line]:
    """The flows between what has a place."""
    used: Counter[float] = Counter()
    return [
        Line(name(edge), _path(edge, used), f"{edge[0]} to {edge[1]}")
        for edge in edges()
        if edge[0] in PLACES and edge[1] in PLACES
    ]


def _path(edge: Edge, used: Counter[float]) -> str:
    (from_column, from_row), (to_column, to_row) = PLACES[edge[0]], PLACES[edge[1]]
    if from_column == to_column:
        x = sum(COLUMNS[from_column]) / 2
        return f"M{x:.2f} {ROWS[from_row]:.2f}L{x:.2f} {ROWS[to_row]:.2f}"
    forward = from_column < to_column
    start, end = (1, 0) if forward else (0, 1)
    shift = APART * (-1 if forward else 1)
    points = [(COLUMNS[from_column][start], ROWS[from_row] + shift)]
    between = range(from_column + 1, to_column) if forward else range(to_column + 1, from_column)
    taken = set(PLACES.values())
    if any((column, to_row) in taken for column in between):
        gap = GAPS[0] if to_row == 0 or (to_row == 1 and from_column) else GAPS[1]
        used[gap] += 1
        y = gap + APART * (used[gap] - 2)
        points += [(COLUMNS[column][side], y) for column in between for side in (1 - start, start)]
    else:
        points += [(COLUMNS[c][side], ROWS[to_row] + shift) for c in between for side in (0, 1)]
    points.append((COLUMNS[to_column][end], ROWS[to_row] + shift))
    return _curve(points)


def _curve(points: list[tuple[float, float]]) -> str:
    """Through the points, leaving and reaching each horizontally."""
    (x, y), *others = points
    path = f"M{x:.2f} {y:.2f}"
    for to_x, to_y in others:
        middle = (x + to_x) / 2
        path += f"C{middle:.2f} {y:.2f} {middle:.2f} {to_y:.2f} {to_x:.2f} {to_y:.2f}"
        x, y = to_x, to_y
    return path
