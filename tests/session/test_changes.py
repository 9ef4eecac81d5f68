import gc

import numpy as np

from tests.kit.networks import network
from workbench.session import Change, Workbench
from workbench.session.changes import Changes


class Listener:
    def __init__(self):
        self.heard = []

    def hear(self, change):
        self.heard.append(change)


def test_a_listener_hears_each_change_until_it_is_stopped():
    changes, heard = Changes(), []
    stop = changes.on_change(heard.append)
    changes.tell(Change("appended", "fold_constants"))
    stop()
    stop()
    changes.tell(Change("undone"))
    assert heard == [Change("appended", "fold_constants")]
    assert len(changes) == 0


def test_a_forgotten_listener_is_collected():
    changes, listener = Changes(), Listener()
    changes.on_change(listener.hear)
    changes.tell(Change("plan"))
    assert [change.kind for change in listener.heard] == ["plan"]
    del listener
    gc.collect()
    assert len(changes) == 0
    changes.tell(Change("plan"))


def test_an_error_of_one_listener_stops_neither_the_others_nor_the_session(caplog):
    changes, heard = Changes(), []
    changes.on_change(lambda _: 1 / 0)
    changes.on_change(heard.append)
    changes.tell(Change("redone"))
    assert [change.kind for change in heard] == ["redone"]
    assert "ZeroDivisionError" in caplog.text


def test_a_listener_may_stop_itself_while_it_is_told():
    changes, heard = Changes(), []

    def once(change):
        heard.append(change)
        stop()

    stop = changes.on_change(once)
    changes.on_change(heard.append)
    changes.tell(Change("plan"))
    changes.tell(Change("plan"))
    assert len(heard) == 3


def workbench():
    return Workbench(network("conv_bn_relu", "conv"))


def test_every_step_is_told_with_its_words_and_so_are_undo_and_redo():
    wb, heard = workbench(), []
    wb.on_change(heard.append)
    wb.edit("fold_batch_norm")
    wb.set_range("x", 2.0)
    wb.undo()
    wb.redo()
    assert [(change.kind, change.what) for change in heard] == [
        ("appended", "fold_batch_norm"),
        ("appended", "set_range x"),
        ("undone", "set_range x"),
        ("redone", "set_range x"),
    ]


def test_a_target_is_told_as_a_change_of_the_plan():
    wb, heard = workbench(), []
    wb.on_change(heard.append)
    wb.plan.set_target("rtx@sm89")
    wb.plan.set_target(None)
    assert heard == [Change("plan", "rtx@sm89"), Change("plan", "any target")]


def test_statistics_are_there_when_the_calibration_is_told():
    wb, seen = workbench(), []
    wb.on_change(lambda change: seen.append((change.kind, wb.ranges.statistics is not None)))
    x = wb.model.inputs[0]
    statistics = wb.calibrate({x.name: np.ones((2, *x.shape[1:]), "float32")})
    assert seen == [("appended", True)]
    other = workbench()
    other.on_change(lambda change: seen.append((change.kind, other.ranges.statistics is not None)))
    other.ranges.use_statistics(statistics)
    assert seen[1:] == [("appended", True)]


def test_a_listener_that_went_away_while_others_are_told_stops_nobody():
    changes, messages = Changes(), []

    class View:
        def hear(self, change):
            messages.append(change)

    gone = View()
    changes.on_change(lambda change: change.kind == "appended" and changes.tell(Change("measured")))
    changes.on_change(gone.hear)
    changes.on_change(messages.append)
    del gone
    changes.tell(Change("appended"))
    assert [one.kind for one in messages] == ["measured", "appended"]
