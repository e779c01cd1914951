"""report.glossary: one text of words, whose words a page links."""

import re

from lib import importance
from lib.report import glossary, page


def test_every_word_that_is_explained_is_linked_where_it_is_said(tmp_path):
    words = re.findall(r"^\| ([a-z ]+) \|", glossary.words().partition("\n\n")[0], re.MULTILINE)[1:]
    said = f"# R\n\n{glossary.folded()}\n\n## A\n\n{', '.join(f'{word}s' for word in words)}"
    text = page.render(said, tmp_path)
    assert {"unit", "cotangent", "probe", "relative auc", "block"} <= set(words)
    assert re.findall(r'<a class="word" href="#[^"]+">([^<]+)</a>s', text) == words
    addresses = re.findall(r'<a class="word" href="#([^"]+)"', text)
    assert all(f'<tr id="{address}">' in text for address in addresses)


def test_every_criterion_in_it_is_one():
    names = [
        name for name in re.findall(r"`([a-z0-9:-]+)`", glossary.words()) if name != "reduction:cotangent:normalisation"
    ]
    assert len(names) > 9
    for name in names:
        importance.parse(name if not name.startswith(":") else f"sq{name}")
