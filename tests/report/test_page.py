"""Markdown as one HTML file."""

import base64
import re

import pytest
from made_up import png

from lib.report import page


def render(markdown, folder, **meta):
    return page.render(markdown, folder, **meta)


def main(text):
    return re.search("<main>\n(.*)\n</main>", text, re.DOTALL)[1].strip()


def test_the_title_is_the_first_heading_and_meta_tags_are_set(tmp_path):
    text = render("# What *we* found & why\n\n## One", tmp_path, compiled_from="abc")
    assert "<title>What we found &amp; why</title>" in text
    assert '<meta name="compiled-from" content="abc">' in text


def test_pictures_are_inside_the_page_with_size_caption_and_words_for_those_who_cannot_see(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/a.png").write_bytes(png((300, 150)))
    text = main(render('![What "a" <shows>](figures/a.png)\\\n*Figure 1. A.* [a.csv](tables/a.csv)', tmp_path))
    source = f"data:image/png;base64,{base64.b64encode(png((300, 150))).decode()}"
    assert text == (
        f'<figure><img src="{source}" width="192" height="96" alt="What &quot;a&quot; &lt;shows&gt;">'
        '<figcaption><em>Figure 1. A.</em> <span class="files"><a href="tables/a.csv">a.csv</a></span></figcaption>'
        "</figure>"
    )
    (tmp_path / "figures/a.png").write_bytes(png((150, 151)))
    text = main(render("![a](figures/a.png)\\\n*Figure 1. A.*", tmp_path))
    assert text.startswith('<figure><img class="upright" src=') and "files" not in text


def test_pictures_are_linked_to_where_they_lie_instead_of_copied(tmp_path):
    one, other = png((300, 150)), png((150, 151))
    (tmp_path / "a.png").write_bytes(one)
    (tmp_path / "c.png").write_bytes(other)
    text = render("![a](a.png)\n\n![c](c.png)", tmp_path)
    found = page.linked(text, {"figures/a.png": one})
    assert found == text.replace(text.split('src="')[1].split('"')[0], "figures/a.png")
    assert found.count("data:image/png") == 1 and page.linked(text, {}) == text


@pytest.mark.parametrize("url", ["figures/missing.png", "https://example.org/a.png", "notes.txt"])
def test_what_is_not_a_saved_picture_is_refused_by_name(tmp_path, url):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(ValueError, match=re.escape(url)):
        render(f"![a]({url})", tmp_path)


def test_raw_html_is_shown_not_obeyed(tmp_path):
    text = main(render("<script>alert(1)</script>\n\na <img src=x onerror=y> b\n\n[x](javascript:alert)", tmp_path))
    assert "<script" not in text and "<img" not in text and "javascript:" not in text
    assert "&lt;script&gt;" in text


def test_only_what_is_folded_by_it_is_folded(tmp_path):
    text = main(render(page.folded("More & <b>", "Some *words*."), tmp_path))
    assert text == "<details>\n<summary>More &amp; &lt;b&gt;</summary>\n<p>Some <em>words</em>.</p>\n</details>"
    for other in ("<details open onclick=x>\n\na", "<details>\n<summary><b>x</b></summary>\n\na"):
        assert "<details" not in main(render(other, tmp_path))


def test_tables_scroll_in_their_own_box_with_numbers_to_the_right(tmp_path):
    text = main(render("| a | b | c |\n| --- | ---: | --- |\n| supported | 1 | y |", tmp_path))
    assert text.startswith('<div class="table" tabindex="0" role="region" aria-label="Table"><table>')
    assert '<th scope="col" class="number">b</th>' in text and '<td class="number">1</td>' in text
    assert '<td class="supported">supported</td>' in text and '<td class="">y</td>' in text


@pytest.mark.parametrize(("rows", "kind"), [(25, "table"), (26, "table tall")])
def test_only_long_tables_scroll_downwards(tmp_path, rows, kind):
    text = main(render("| a |\n| --- |\n" + "| x |\n" * rows, tmp_path))
    assert text.startswith(f'<div class="{kind}" ') and text.count("<td") == rows


def test_contents_are_headings_of_two_levels_with_anchors_as_code_hosts_make_them(tmp_path):
    text = (
        "# T\n\n## The paper's *own* `sq:rand`, again?\n\n### Curves\n\n#### deep\n\n## Two\n\n### Curves\n\n### Curves"
    )
    found = page.contents(text, tmp_path)
    assert [(one.text, one.anchor) for one in found] == [
        ("The paper's own sq:rand, again?", "the-papers-own-sqrand-again"),
        ("Two", "two"),
    ]
    assert [[below.anchor for below in one.below] for one in found] == [["curves"], ["curves-1", "curves-2"]]
    html = render(text, tmp_path)
    for anchor in ("the-papers-own-sqrand-again", "two", "curves", "curves-1", "curves-2"):
        assert html.count(f'id="{anchor}"') == 1 and html.count(f'href="#{anchor}"') == 1


def test_a_link_with_a_row_for_title_leads_to_that_row(tmp_path):
    text = main(render(
        '# R\n\n[0.1](#the-claims "C1") [0.2](#the-claims "`sq:rand`") [x](#the-claims) [y](z.html "C1")\n\n'
        "## The claims\n\n| claim | by |\n| --- | --- |\n| C1 | a |\n| `sq:rand` | b |\n| C1 | c |\n\n"
        "## Others\n\n| claim | by |\n| --- | --- |\n| C1 | d |",
        tmp_path,
    ))  # fmt: skip
    addresses = re.findall(r'href="([^"]+)"', text)
    assert addresses == ["#the-claims.c1", "#the-claims.sqrand", "#the-claims", "z.html"]
    rows = [tuple(found) for found in re.findall(r'<tr id="([^"]+)">\n<td class="">(.*?)</td>', text)]
    assert rows == [
        ("the-claims.c1", "C1"), ("the-claims.sqrand", "<code>sq:rand</code>"), ("others.c1", "C1"),
    ]  # fmt: skip
    assert 'class="long"' not in main(render('| a |\n| --- |\n| [C1](report.md#the-claims-of-all "C1") |', tmp_path))
    assert text.count("<tr>") == 3  # two headers, and the second row that begins with C1


def test_words_that_a_table_explains_lead_there_the_first_time_in_a_section(tmp_path):
    words = "| word | what it means |\n| --- | --- |\n| unit | a channel |\n| relative auc | a mean |"
    sections = "## A\n\n`unit`, [unit](x), 65-unit, units and *unit*, community.\n\nrelative auc\n\n## B\n\nunit"
    text = main(render(f"# R\n\nunit\n\n{words}\n\n{sections}", tmp_path))
    word = '<a class="word" href="#r.unit">unit</a>'
    assert f'<p><code>unit</code>, <a href="x">unit</a>, 65-unit, {word}s and <em>unit</em>, community.</p>' in text
    assert '<a class="word" href="#r.relative-auc">relative auc</a>' in text
    assert text.endswith(f"<p>{word}</p>") and text.count('class="word"') == 3
    assert text.count('class="table words"') == 1


def test_a_link_to_a_row_that_is_not_there_leads_to_its_heading(tmp_path):
    text = main(render('# R\n\n[0.1](#a-b "C2") [0.2](#a-b "C1")\n\n## A. b\n\n| c |\n| --- |\n| C1 |', tmp_path))
    assert re.findall(r'href="([^"]+)"', text) == ["#a-b", "#a-b.c1"]


def test_no_row_has_the_address_of_a_heading(tmp_path):
    table = "| number |\n| --- |\n| 1 |"
    text = main(render(f"# R\n\n## A\n\n{table}\n\n## A\n\n{table}", tmp_path))
    assert re.findall(r' id="([^"]+)"', text) == ["r", "a", "a.1", "a-1", "a-1.1"]


def test_no_word_is_a_link_within_a_link_of_two_lines(tmp_path):
    words = "| word | what it means |\n| --- | --- |\n| unit | a channel |"
    text = main(render(f"# R\n\n{words}\n\n## A\n\nSee [a unit\nof it](x), [some\nunit](y) and a unit.", tmp_path))
    assert '<a href="x">a unit\nof it</a>, <a href="y">some\nunit</a> and a <a class="word"' in text


def test_a_page_of_nothing_is_a_page(tmp_path):
    assert "<title>Report</title>" in render("", tmp_path)
    assert page.plain("**A** [link](x) and `code`") == "A link and code"
