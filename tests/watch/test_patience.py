"""When a watch leaves off."""

from __future__ import annotations

from kokofast.watching.patience import FAILURE_PAUSES, FIGHT_PAUSES, MOST, WITHIN, Patience


def fight(patience: Patience, start: float, place: object = "here") -> float | None:
    """As many repairs as are too many; the pause."""
    pauses = [patience.note_repair("x", place, start + number) for number in range(MOST)]
    assert pauses[:-1] == [None] * (MOST - 1)
    return pauses[-1]


def test_what_is_changed_again_and_again_is_left_alone_for_ever_longer() -> None:
    patience = Patience()
    now = 0.0
    for pause in (*FIGHT_PAUSES, FIGHT_PAUSES[-1]):
        assert fight(patience, now) == pause
        now += MOST - 1
        assert patience.left_alone() == {"x"}
        assert patience.next_end() == now + pause
        assert patience.end_pauses(now + pause - 0.1) == []
        now += pause
        assert patience.end_pauses(now) == ["x"]
        assert patience.left_alone() == set()


def test_repairs_now_and_then_are_no_fight() -> None:
    patience = Patience()
    for number in range(10 * MOST):
        assert patience.note_repair("x", "here", number * (WITHIN / (MOST - 1) + 0.1)) is None


def test_a_container_that_is_restarted_is_no_fight() -> None:
    patience = Patience()
    for number in range(10 * MOST):
        assert patience.note_repair("x", number, number / 10) is None


def test_after_a_long_peace_pauses_are_short_again() -> None:
    patience = Patience()
    assert fight(patience, 0) == FIGHT_PAUSES[0]
    assert patience.end_pauses(100) == ["x"]
    assert fight(patience, 1000) == FIGHT_PAUSES[0]


def test_what_fails_is_tried_again_ever_later_until_it_is_repaired() -> None:
    patience = Patience()
    for pause in (*FAILURE_PAUSES, FAILURE_PAUSES[-1]):
        assert patience.note_failure("x", 0) == pause
        assert patience.has_failed("x")
    patience.note_repair("x", "here", 100)
    assert not patience.has_failed("x")
    assert patience.note_failure("x", 0) == FAILURE_PAUSES[0]


def test_a_new_file_is_a_new_start() -> None:
    patience = Patience()
    patience.note_failure("x", 0)
    patience.begin_anew()
    assert patience.left_alone() == set()
    assert patience.next_end() is None
