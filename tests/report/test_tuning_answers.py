"""report.tuning_answers: who is ahead after fine-tuning is what the tables hold."""

import pandas
import pytest

from lib.report import tuning_answers
from lib.study.finetuning import PRICED


def tuned(own, weights):
    rows = [("a", 0, "sq:rand:norm", own), ("a", 0, "l2", weights), ("a", 1, "sq:rand:norm", 0.5), ("a", 1, "l2", 0.51)]
    table = pandas.DataFrame(rows, columns=["network", "seed", "criterion", "after"])
    return table.assign(dataset="digits", of="macs", budget=0.5, training="fine-tuned")


FEW = " (in 2 networks: too few to be sure)."
BESIDE = (
    "mean accuracy {} % by `sq:rand:norm` and {} % by `l2` with 50 % of multiply-adds gone (`sq:rand:norm` ahead in "
)


@pytest.mark.parametrize(
    ("own", "weights", "said", "advised"),
    [
        (0.6, 0.7, f"weight magnitude is ahead**: {BESIDE.format('55.0', '60.5')}none of 2 networks).",
         "try both rankings**: by scores alone `l2` ended 5.5 points above `sq:rand:norm`"),
        (0.7, 0.6, f"`sq:rand:norm` is still ahead**: {BESIDE.format('60.0', '55.5')}1 of 2 networks).",
         "try both rankings**: by scores alone `sq:rand:norm` ended 4.5 points above `l2`"),
        (0.61, 0.6, f"both end alike**: {BESIDE.format('55.5', '55.5')}1 of 2 networks).",
         "either will do**: `l2`, which needs no images, ends where `sq:rand:norm` does"),
    ],
)  # fmt: skip
def test_after_fine_tuning_it_may_be_another(own, weights, said, advised):
    table = tuned(own, weights)
    fresh = table.assign(training="from scratch", after=0.0)
    assert tuning_answers.after(pandas.concat([table, fresh])) == f"**After fine-tuning {said}"
    assert tuning_answers.rank_by(table) == f"**If you fine-tune, {advised}{FEW}"


def test_after_fine_tuning_networks_ranked_by_score_per_multiply_add_are_told_beside():
    plain = tuned(0.6, 0.7)  # .55 and .605 in the mean
    priced = plain[plain["criterion"] == "sq:rand:norm"].assign(training=PRICED, after=[0.68, 0.6])
    assert tuning_answers.after(pandas.concat([plain, priced])).endswith(
        " Ranked by score per multiply-add `sq:rand:norm` ends 3.5 points above `l2` (ahead in 1 of 2 networks) "
        "without 50 % of multiply-adds."
    )
    assert tuning_answers.rank_by(pandas.concat([plain, priced])) == (
        "**If you fine-tune, rank by score per multiply-add, of `sq:rand:norm`**, as the tool does: it ended "
        "3.5 points above `l2` without 50 % of multiply-adds, which by score alone it did not" + FEW
    )
    worse = pandas.concat([plain, priced.assign(after=0.4)])
    assert "20.5 points below `l2` (ahead in none of 2 networks)" in tuning_answers.after(worse)
    assert tuning_answers.rank_by(worse) == tuning_answers.rank_by(plain)


def test_scores_per_multiply_add_are_set_beside_scores_alone_at_the_same_budgets_and_networks():
    ahead, behind = tuned(0.7, 0.6), tuned(0.5, 0.7).assign(of="parameters")
    priced = ahead[ahead["criterion"] == "sq:rand:norm"].assign(training=PRICED)
    found = tuning_answers.rank_by(pandas.concat([ahead, behind, priced]))  # by scores alone it was ahead there, too
    assert found == tuning_answers.rank_by(pandas.concat([ahead, behind]))
    other = tuned(0.2, 0.9).assign(network="c")
    assert tuning_answers.rank_by(pandas.concat([ahead, other, priced])) == tuning_answers.rank_by(
        pandas.concat([ahead, other])
    )
    level = pandas.concat([ahead, priced.assign(after=ahead[ahead["criterion"] == "l2"]["after"].tolist())])
    assert "multiply-add `sq:rand:norm` ends level with `l2` (ahead in none of 2 networks)" in tuning_answers.after(
        level
    )


def test_networks_of_tables_that_do_not_say_how_they_were_trained_count_beside_those_that_do():
    old = tuned(0.6, 0.7).drop(columns=["of", "budget", "training"])
    both = pandas.concat([old, tuned(0.6, 0.7).assign(dataset="cifar100")], ignore_index=True)
    assert "ahead in none of 4 networks)" in tuning_answers.after(both) and "nan" not in tuning_answers.after(both)
    assert tuning_answers.after(old) == tuning_answers.after(tuned(0.6, 0.7))


def test_after_fine_tuning_budgets_are_told_one_by_one():
    more = pandas.concat([tuned(0.6, 0.7), tuned(0.8, 0.6).assign(of="parameters")])
    assert tuning_answers.after(more).startswith(
        "**After fine-tuning it depends on what goes which of both is ahead**: mean"
    )
    assert tuning_answers.rank_by(more) == (
        "**If you fine-tune, it depended on what went**: on `a` on digits, by scores alone, `l2` ended 5.5 points "
        "ahead without 50 % of multiply-adds (in all 2 networks, open) and `sq:rand:norm` ended 9.5 points ahead "
        "without 50 % of parameters (in 1 of 2 networks, open)."
    )
    own, weights = more[(more["seed"] == 0) & (more["of"] == "macs")].to_dict("records")
    six = [row | {"seed": seed, "of": of, "after": row["after"] + 0.001 * seed + shift}
           for seed in range(6) for of in ("macs", "parameters")
           for row, shift in ((own, 0.0), (weights, (-1) ** seed * 0.2 if of == "macs" else -0.3))]  # fmt: skip
    assert tuning_answers.rank_by(pandas.DataFrame(six)).startswith(
        "**If you fine-tune, it depended on what went**: on `a` on digits, "
        "by scores alone, `l2` ended 10.0 points ahead without 50 % of multiply-adds (in 3 of 6 networks, open) "
        "and `sq:rand:norm` ended 20.0 points ahead without 50 % of parameters (in all 6 networks)."
    )
    slight = pandas.concat([tuned(0.63, 0.6), tuned(0.6, 0.6).assign(of="parameters")])
    assert "`l2` ended 0.5 points ahead without 50 % of parameters (in 1 of 2 networks, open)." in (
        tuning_answers.rank_by(slight)
    )
    assert "by scores alone `l2` ended 5.5 to 10.5 points" in tuning_answers.rank_by(
        pandas.concat([tuned(0.6, 0.7), tuned(0.5, 0.7).assign(of="parameters")])
    )


def test_what_a_claim_about_one_budget_leaves_out_is_told_beside_it():
    plain, claimed = tuned(0.6, 0.7), ("macs", 0.5)
    assert tuning_answers.beyond(plain, claimed) == tuning_answers.beyond(plain[:0], claimed) == ""
    more = pandas.concat([plain, tuned(0.8, 0.6).assign(of="parameters"), tuned(0.2, 0.3).assign(budget=0.25)])
    assert tuning_answers.beyond(more, claimed) == (
        " Not covered by this claim: 65.0 % by `sq:rand:norm` and 55.5 % by `l2` with 50 % of parameters "
        "gone (`sq:rand:norm` ahead in 1 of 2 networks); 35.0 % by `sq:rand:norm` and 40.5 % by `l2` with 25 % of "
        "multiply-adds gone (`sq:rand:norm` ahead in none of 2 networks)."
    )
    priced = plain[plain["criterion"] == "sq:rand:norm"].assign(training=PRICED, after=[0.68, 0.6])
    assert tuning_answers.beyond(pandas.concat([plain, priced]), claimed) == (
        " Ranked by score per multiply-add `sq:rand:norm` ends 3.5 points above `l2` (ahead in 1 of 2 networks) "
        "without 50 % of multiply-adds."
    )


def test_what_was_not_held_equal_is_told():
    macs = tuned(0.6, 0.7).assign(parameters=[100, 125, 200, 300], multiply_adds=50)  # 1.25 and 1.5 times
    weights = macs["criterion"] == "l2"
    parameters = macs.assign(of="parameters", parameters=150, multiply_adds=(~weights) * 20 + weights * 16)
    both = pandas.concat([macs, parameters, macs[weights].assign(training=PRICED, parameters=9)])
    said = (
        "Their networks are not alike in size: without 50 % of multiply-adds `l2` keeps 1.38 times as many parameters "
    )
    more = "; without 50 % of parameters `l2` keeps 0.80 times as many multiply-adds as `sq:rand:norm`."
    assert tuning_answers.sizes(both, ["l2", "random"]) == f"{said}as `sq:rand:norm`{more}"
    assert tuning_answers.beyond(macs, ("macs", 0.5)) == f" {said}as `sq:rand:norm`."
    assert tuning_answers.beyond(macs[weights], ("macs", 0.5)) == ""


def test_of_many_networks_it_is_not_said_that_they_are_too_few():
    many = pandas.concat([tuned(0.6, 0.7).assign(dataset=name) for name in "abc"])
    found = "**If you fine-tune, rank by `l2`**: by scores alone `l2` ended 5.5 points above `sq:rand:norm`."
    assert tuning_answers.rank_by(many) == found
    assert tuning_answers.rank_by(tuned(0.6, 0.7)[:2]).endswith(" (in 1 network: too few to be sure).")


def test_without_both_criteria_nothing_is_said():
    one = tuned(0.6, 0.7)[lambda rows: rows["criterion"] == "l2"]
    for nothing in (pandas.DataFrame(), one):
        assert tuning_answers.after(nothing) == tuning_answers.rank_by(nothing) == ""
        assert tuning_answers.of_both(nothing).empty
