"""A result as one HTML file that opens anywhere, offline: figures, charts, and what they need to mean something."""

from __future__ import annotations

from specdash.report.html.answer import answer, recommendations, warnings
from specdash.report.html.charts import Charts, acceptances, curves, speed
from specdash.report.html.facts import environment, loads, rules, served, verdicts
from specdash.report.html.heatmap import heatmap
from specdash.report.html.markup import Markup, join, label, paragraph
from specdash.report.html.page import document
from specdash.report.html.tables import categories, losslessness, roofline
from specdash.report.text import Json, title, when

CONTENTS = (
    ("recommendations", "Recommendations"),
    ("speed", "Speed"),
    ("heatmap", "Every pair"),
    ("curves", "K curves"),
    ("acceptance", "Acceptance"),
    ("categories", "Categories"),
    ("lossless", "Same words"),
    ("roofline", "Bound"),
    ("rules", "Rules"),
    ("loads", "Loads"),
    ("environment", "Environment"),
    ("verdicts", "Verdicts"),
)


def to_html(result: Json) -> str:
    """The report of a result (`store.result_json.document_of`, or one of an older version) as a whole HTML document.

    Raises StoreError where the plotly package, whose script draws the charts, is missing.
    """
    charts, run = Charts(), result.get("run") or {}
    name = f"Speculative decoding: {title(run)}"
    links = Markup("".join(f'<li><a href="#{place}">{text}</a>' for place, text in CONTENTS))
    body = join(
        [
            Markup("<header><h1><small>Speculative decoding</small> "),
            label(title(run), 120),
            Markup("</h1>"),
            paragraph(join(["Run ", label(run.get("id"), 120), ", ", label(when(run), 400)]), "sub"),
            served(result),
            answer(result),
            warnings(result),
            Markup(f'<nav aria-label="Contents"><ul>{links}</ul></nav></header><main>'),
            recommendations(result),
            speed(result, charts),
            heatmap(result),
            curves(result, charts),
            acceptances(result, charts),
            categories(result),
            losslessness(result),
            roofline(result),
            rules(result),
            loads(result),
            environment(result),
            verdicts(result),
            Markup("</main><noscript><p class=note>Charts need JavaScript; every figure is in a table.</noscript>"),
        ]
    )
    return document(name, body, charts.figures)
