"""What the terminal is told of long runs."""

from types import SimpleNamespace

from snakemake_interface_logger_plugins.common import LogEvent

from lib.running import progress


def handler():
    made = progress.LogHandler(SimpleNamespace(dryrun=False), progress.LogHandlerSettings(notebooks=9))
    made.close()  # no thread of its own: time is given
    return made


def begin(told, job, label, at):
    told.emit(SimpleNamespace(event=LogEvent.JOB_INFO, rule_name="run", jobid=job, rule_msg=label, created=at))


def test_what_runs_is_told_with_its_minutes_until_it_ends(capsys):
    told = handler()
    told._tell_running(0)
    assert capsys.readouterr().out == ""  # nothing runs
    begin(told, 1, "00-train digits-resnet8 seed 0", 0)
    begin(told, 2, "10-measure digits-vgg8 seed 1", 60)
    told._tell_running(180)
    assert capsys.readouterr().out == (
        "running: 00-train digits-resnet8 seed 0 (3 min), 10-measure digits-vgg8 seed 1 (2 min)\n"
    )
    told.emit(SimpleNamespace(event=LogEvent.JOB_FINISHED, job_id=1, created=200))
    told.emit(SimpleNamespace(event=LogEvent.JOB_ERROR, jobid=2, rule_msg="", log=[]))
    capsys.readouterr()
    told._tell_running(300)
    assert capsys.readouterr().out == ""


def test_of_many_that_run_the_first_few_are_named(capsys):
    told = handler()
    for job in range(5):
        begin(told, job, f"n{job}", 0)
    told._tell_running(120)
    assert capsys.readouterr().out == "running: n0 (2 min), n1 (2 min), n2 (2 min) and 2 more\n"


def test_it_is_told_only_after_a_while_without_a_word(capsys, monkeypatch):
    told, waits = handler(), iter([False, False, True])
    begin(told, 1, "a", 1000)
    told._ended = SimpleNamespace(wait=lambda seconds: next(waits))
    times = iter([1059, 1120, 1120])
    monkeypatch.setattr(progress.time, "time", lambda: next(times))
    told.spoke = 1000
    told._watch()
    assert capsys.readouterr().out == "running: a (2 min)\n"
