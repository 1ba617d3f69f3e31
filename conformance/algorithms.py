"""The rows of `algorithms.txt`, and those that an SDK cannot express."""

import itertools
import pathlib
import typing

HERE = pathlib.Path(__file__).resolve().parent
SUITES = ("python", "js", "rust")


class Row(typing.NamedTuple):
    """One thing the pool computes."""

    kind: str
    size: str
    operation: str
    algorithm: str


def _lines(path):
    return [line.split() for line in path.read_text().splitlines() if line and not line.startswith("#")]


def rows():
    """Every row."""
    lines = _lines(HERE / "algorithms.txt")
    return [Row(*each) for line in lines for each in itertools.product(*(column.split(",") for column in line))]


def inexpressible(suite):
    """The rows that the suite's SDK cannot express."""
    found = set()
    for *pattern, _reason in (line[:5] for line in _lines(HERE / suite / "inexpressible.txt")):
        choices = [column.split(",") for column in pattern]
        meant = {row for row in rows() if all("*" in some or value in some for value, some in zip(row, choices))}
        assert meant, f"{suite}/inexpressible.txt names nothing in algorithms.txt: {pattern}"
        found |= meant
    return found


def expressible(suite):
    """The rows that the suite tests."""
    missing = inexpressible(suite)
    return [row for row in rows() if row not in missing]
