"""The data doctor with a tokenizer: comparisons that are longer than a stage's `max_length`, and what cutting loses.

Torch and transformers are imported inside the function, because the rest of the data doctor does without.
"""

from __future__ import annotations

from pathlib import Path

from align.data.checks import Finding
from align.data.comparisons import comparisons
from align.data.importers import Imported
from align.data.records import Preference, Ranking
from align.errors import ModelError


def check_lengths(imported: Imported, folder: Path, max_length: int) -> list[Finding]:
    """Rows whose comparisons are cut, and rows of which cutting leaves two equal answers, as training would cut them.

    Rows that compare nothing are passed over. Raises ModelError if the folder holds no tokenizer with a chat template.
    """
    from transformers import AutoTokenizer

    from align.data.chat import encode_pair

    remedy = "name the folder of the model that will be trained"
    if not folder.is_dir() and len(folder.parts) != 2:  # two: perhaps a hub id that was downloaded before
        raise ModelError("there is no such folder", where=str(folder), remedy=remedy)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"no tokenizer can be read: {error}", where=str(folder), remedy=remedy) from None
    if not tokenizer.chat_template:
        raise ModelError("the tokenizer has no chat template", where=str(folder), remedy=remedy)
    cut, lost = [], []
    for row, record in enumerate(imported.records):
        if not isinstance(record, Preference | Ranking):
            continue
        found = [encode_pair(tokenizer, c.prompt, c.chosen, c.rejected, max_length) for c in comparisons([record])]
        if any(pair is None for pair in found):
            lost.append(row)
        elif any(pair.cut for pair in found if pair):
            cut.append(row)
    messages = (
        ("cut-away", f"cutting to {max_length} tokens removes the difference of a comparison, which is left out", lost),
        ("cut", f"a comparison is longer than {max_length} tokens and is cut", cut),
    )
    return [
        Finding(
            "warning", code, text, imported.place(rows[0]), len(rows), tuple(map(imported.place, rows)), tuple(rows)
        )
        for code, text, rows in messages
        if rows
    ]
