"""report.supported: networks that can be pruned are counted."""

import made_up
import pandas
import pytest

from lib.report import supported

YES = dict.fromkeys(("scored", "masked", "shrunk", "torch_pruning"), "yes")
VERSIONS = {"torch": "2.0", "torchvision": "1.0", "timm": "none", "torch-pruning": "1.6", "code": "12e4"}


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("resnet50", "resnet"),
        ("vit_b_16", "vit"),
        ("timm:convnextv2_atto", "timm: convnext"),
        ("swin_v2_t", "swin"),
        ("wide_resnet50_2", "wide_resnet"),
        ("timm:res2net50_26w_4s", "timm: res2net"),
        ("timm:dla34", "timm: dla"),
        ("efficientnet-lite0", "efficientnet"),
    ],
)
def test_families(name, family):
    assert supported.family(name) == family


def tried():
    rows = [("vgg11", {}), ("vgg16", {"shrunk": "why"}), ("alexnet", {}), ("timm:vgg11", {"torch_pruning": "no"})]
    return pandas.DataFrame([{"network": name} | YES | more | VERSIONS for name, more in rows])


def test_families_are_counted():
    gone = tried().assign(without=[0.5, 0.3, 0.2, 0.4])
    found = supported.counted(gone).set_index("family")
    counts = found.drop(columns="share_gone_at_least")
    assert counts.loc["vgg"].tolist() == [2, 2, 2, 1, 2] and counts.loc["all"].tolist() == [4, 4, 4, 3, 3]
    shrunk = gone[gone["shrunk"] == "yes"].assign(family=gone["network"].map(supported.family))
    for family, least in found["share_gone_at_least"].items():
        assert least == (shrunk if family == "all" else shrunk[shrunk["family"] == family])["without"].min()
    assert supported.counted(tried())["share_gone_at_least"].isna().all()


def test_what_is_said_counts_by_library_and_names_wrong_answers():
    said = (
        "Tried with random weights, beside the library torch-pruning with its default settings: of 3 networks of "
        "torchvision all are scored and 2 shrunk (torch-pruning shrinks 3); of 1 network of timm all are scored and "
        "shrunk (torch-pruning shrinks 0). Checked: all that were shrunk answer as the whole ones do with the same "
        "channels off. What torch-pruning makes was not checked."
    )
    assert supported.in_short(tried()) == said
    full = tried().replace({"torch_pruning": {"no": "MemoryError"}})
    assert "(torch-pruning shrinks 0, and runs out of memory on 1). Checked" in supported.in_short(full)
    wrong = tried().assign(shrunk=supported.OTHERWISE)
    assert "(torch-pruning shrinks 0). Checked: 4 of those shrunk do not answer as" in supported.in_short(wrong)
    first, _, table = supported.shown(tried()).partition("\n\n")
    assert first == f"{said} With torch 2.0, torchvision 1.0, torch-pruning 1.6."
    assert table.startswith("| family | networks | scored | masked | shrunk | torch pruning |")


def test_a_report_has_them_in_a_section_of_their_own(plan):
    made_up.finish(plan)
    assert "Which networks" not in plan.report.with_suffix(".md").read_text()
    folder = plan.folder.parent / "benchmarks"
    folder.mkdir()
    tried().to_csv(folder / supported.FILE, index=False)
    made_up.finish(plan)
    markdown = plan.report.with_suffix(".md").read_text()
    section = markdown[markdown.index("## Which networks can be pruned") : markdown.index("## Files")]
    assert "of 3 networks of torchvision all are scored" in section and "| vgg | 2 | 2 | 2 | 1 | 2 |" in section
    assert (plan.tables / "90-report-coverage.csv").read_bytes() == (folder / supported.FILE).read_bytes()
