"""The command palette: every action of every screen, the application's own, and every theme."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

from specdash.ui.tui.context import DashboardContext
from specdash.ui.tui.keys import key_label

Entry = tuple[str, str, partial[None]]


class Actions(Provider):
    """What the palette finds: actions by their words, with their keys, wherever they are."""

    async def discover(self) -> Hits:
        """Yield everything, while nothing is typed."""
        for name, words, call in self._entries():
            yield DiscoveryHit(name, call, help=words)

    async def search(self, query: str) -> Hits:
        """Yield what fits the words that are typed."""
        matcher = self.matcher(query)
        for name, words, call in self._entries():
            score = matcher.match(name)
            if score > 0:
                yield Hit(score, matcher.highlight(name), call, help=words)

    def _entries(self) -> Iterator[Entry]:
        """Yield name, explanation and callback, the actions of the screen in front first."""
        app = cast("DashboardContext", self.app)
        here, is_ascii = app.place_of(self.screen), app.terminal.glyphs.is_ascii
        acts = sorted(app.acts(), key=lambda act: act.where != here)
        for act in acts:
            if act.id in ("palette", "interrupt") or not app.reaches(act.where):
                continue
            where = act.where.capitalize()
            yield (
                f"{where}: {act.description}",
                "key " + " ".join(key_label(key, is_ascii=is_ascii) for key in act.keys.split(",")),
                partial(app.perform, act),
            )
        for name in sorted(app.available_themes):
            yield f"Theme: {name}", "kept for the next time", partial(app.choose_theme, name)
        yield "Everywhere: Save a screenshot", "an SVG file in the working folder", partial(app.save_picture)
