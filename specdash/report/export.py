"""A result as JSON and as CSV: files that can be made again from the journal at any time."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import fields

from specdash.analysis.result import Result
from specdash.core import axes
from specdash.core.axes import AXES, Part
from specdash.core.measure import Sample
from specdash.core.step import Step
from specdash.core.text import one_line
from specdash.store.result_json import to_document

CELL_CHARS = 1000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
STEP = tuple(name for name, axis in AXES.items() if axis.part is not Part.COPY and not axis.is_sparse)
LATER = tuple(name for name, axis in AXES.items() if axis.is_sparse)
"""The axes of a step, in the order of the columns; later ones come last, so that no column moves."""
_OUTCOME = ("status", "verdicts", "error")
_SAMPLE = tuple(field.name for field in fields(Sample) if field.name not in ("status", "reasons"))
COLUMNS = ("run", "measurement", "load", *STEP, *_OUTCOME, *_SAMPLE, "sample_status", "sample_reasons", *LATER)
"""The columns of the CSV: the step and its outcome, then the sample as it is in the result."""


def to_json(result: Result) -> str:
    """The result as JSON, in ASCII: whatever is in it can be printed and cannot steer a terminal."""
    return json.dumps(to_document(result), indent=2, allow_nan=False) + "\n"


def to_csv(result: Result) -> str:
    """One row for each sample, of finished and unfinished steps; a step without samples has a row of its own.

    Unknown cells are empty. Lists are joined by ";". Text that a spreadsheet would take for a formula is led by an
    apostrophe; numbers never are.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for each in result.rows:
        named, later = ([_known(each.step, name) for name in names] for names in (STEP, LATER))
        step = [result.run.id, each.id, each.load, *named, each.status, each.verdicts, each.error]
        if not each.samples:
            gap = [""] * (len(COLUMNS) - len(step) - len(later))
            rows.writerow([*map(_cell, step), *gap, *map(_cell, later)])
        for sample in each.samples:
            values = (getattr(sample, name) for name in (*_SAMPLE, "status", "reasons"))
            rows.writerow(map(_cell, [*step, *values, *later]))
    return text.getvalue()


def _known(step: Step, name: str) -> object:
    """The value of an axis; None for a parameter that the method of a step does not have."""
    has = name not in axes.PARAMS or AXES[name].is_of(step.method)
    return axes.value(step, name) if has else None


def _cell(value: object) -> str:
    """One cell; floats with all their digits."""
    if value is None or value != value:  # NaN: unknown
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return _cell(";".join(str(each) for each in value))
    shown = one_line(str(value), CELL_CHARS)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown
