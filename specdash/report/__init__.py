"""Reports of a result: one list of sections, written as HTML, as Markdown and on a terminal; and results of others."""
