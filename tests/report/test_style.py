"""report.style: colours."""

from lib.report import style


def test_criteria_of_most_figures_have_the_same_colour_in_all():
    first, second = ["l2", "abs", "sq:rand:norm"], ["sq:rand:norm", "sq", "taylorfo", "l2", "hrank", "random"]
    colours = [dict(zip(names, style.colours(names), strict=True)) for names in (first, second)]
    assert all(len(set(found.values())) == len(found) for found in colours)
    assert {name for name in first if colours[0][name] == colours[1].get(name)} == {"l2", "sq:rand:norm"}
    many = [f"c{number}" for number in range(12)]
    assert len(set(style.colours(many))) == 12
