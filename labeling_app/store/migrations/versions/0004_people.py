"""Items count people: of an annotator whom a file names twice for one item, the second ranking was counted too."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Take out what was counted twice, and open the items that need more people then."""
    op.execute("CREATE TEMPORARY TABLE again AS SELECT item_id, count(*) AS number FROM lease "
               "WHERE task = 'rank' AND round > 0 AND state = 'submitted' GROUP BY item_id")  # fmt: skip
    number = "(SELECT number FROM again WHERE again.item_id = item.id)"
    ours = "WHERE id IN (SELECT item_id FROM again)"
    op.execute(f"UPDATE item SET taken = taken - {number}, done = done - {number} {ours}")
    op.execute(f"UPDATE item SET state = 'open' {ours} AND done < need AND state IN ('done', 'adjudicate')")
    op.execute("DROP TABLE again")
