"""What a run tells its reader: one self-contained HTML page, tables in the terminal, and a model card.

    run folder ─► collect.py (Run) ─┬► page.py        report.html, from templates/
                                    ├► terminal.py    the tables `align run` ends with
                                    └► model_card.py  README.md of an exported model

Nothing here imports torch; jinja2 and matplotlib are imported when a page is built, not before.
"""

from align.report.page import build_report

__all__ = ["build_report"]
