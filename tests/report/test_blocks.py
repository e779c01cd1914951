"""report.blocks: how they show themselves."""

import made_up
import pandas

from lib.report import blocks


def test_blocks_show_themselves_in_a_notebook(plan):
    block = blocks.table(pandas.DataFrame({"dataset": ["digits"]}), "Of what.", plan.tables / "x.csv")
    assert block._repr_markdown_() == "Of what.\n\n| data set |\n| --- |\n| digits |"
    assert block.files == (plan.tables / "x.csv",)
    assert blocks.Figure(plan.figures / "30-sign-curves.png", "A")._repr_png_() == made_up.png()
