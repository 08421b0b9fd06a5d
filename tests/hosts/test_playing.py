"""What a play came to on a host, by what its tasks returned; and the places of its errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kokofast.cli.hosts_play import _arguments
from kokofast.cli.main import run
from kokofast.cli.parser import build_parser
from kokofast.hosts.ansible import Answer
from kokofast.hosts.places import TimelinePlaces
from kokofast.hosts.playing import BEGIN, CLOCK, CLOCK_AGAIN, END, RENEW, Clock, Plays

LEASE = 60.0
SUMMARY = {"epochs": 2}
GONE: dict[str, Any] = {"msg": "Failed to connect to the host via ssh: Connection refused"}
REFUSED = {
    "status": "invalid",
    "errors": [{"source": "/run/kokofast-jobs/0a/timeline.jsonl:2 set[1].mtu", "message": "is bad", "errno": 22}],
}


def places() -> TimelinePlaces:
    found = TimelinePlaces()
    found.note("h1", "t.jsonl:1", {"add": ["t.jsonl:1 add[4]"]})
    found.note("h1", "t.jsonl:5", {"set": ["t.jsonl:5 set[7]", "t.jsonl:5 links-update[9]"]})
    return found


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("/run/x/timeline.jsonl:2 set[1].mtu", "t.jsonl:5 links-update[9].mtu"),
        ("h1.timeline.jsonl:2 set[0]", "t.jsonl:5 set[7]"),
        ("timeline.jsonl:1 add[0].endpoints[1]", "t.jsonl:1 add[4].endpoints[1]"),
        ("timeline.jsonl:2", "t.jsonl:5"),
        ("timeline.jsonl:2 set[2]", "t.jsonl:5"),
        ("timeline.jsonl:3", None),
        ("timeline.jsonl:0", None),
        ("$.links[3]", None),
        ("", None),
    ],
)
def test_the_place_in_the_users_timeline(source: str, place: str | None) -> None:
    assert places().locate("h1", source) == place
    assert places().locate("h2", source) is None


@given(st.decimals(0, 10**9, allow_nan=False).map("{:f}".format).map(lambda text: text[:9]))
@example("123456.25")
@example("1000000")
@example(".00000001")
def test_each_host_plays_the_same_seconds_that_were_given(text: str) -> None:
    given = [f"--from={text}", f"--until={text}", *([f"--speed={text}"] if float(text) else [])]
    options = build_parser().parse_args(["hosts", "play", "lab.json", "t.jsonl", *given])
    of_host = build_parser().parse_args(["play", "h1.json", "h1.jsonl", *_arguments(options)])
    for name in ("start", "until", "speed"):
        assert getattr(of_host, name) == getattr(options, name)


def test_a_lease_that_ends_between_two_rounds_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["hosts", "play", "lab.json", str(Path(__file__)), "--lease=14.9"]) == 2
    assert "--lease 14.9 is too short, give 15 or more: hosts are asked every 5 s" in capsys.readouterr().err


def told(code: int | None = None, *, messages: str = "", bad: Any = (), **more: Any) -> dict[str, Any]:
    return {"offset": 10, "ended": code is not None, "code": code, "bad": list(bad), "messages": messages, **more}


STARTED = [("ok", CLOCK, {"offset": 0.2, "error": 0.01}, 0.0), ("ok", BEGIN, {}, 1.0)]


@pytest.mark.parametrize(
    ("answers", "is_told", "status", "errors"),
    [
        ([], False, "unasked", []),
        ([("unreachable", CLOCK, GONE, 0.0)], False, "unreachable", ["cannot be reached: Connection refused"]),
        ([("failed", CLOCK, {"msg": "no date"}, 0.0)], False, "failed", ["no date"]),
        (STARTED, False, "playing", []),
        ([*STARTED, ("ok", RENEW, told(), 5.0)], False, "playing", []),
        # Not heard of for a while, but not for longer than the lease.
        ([*STARTED, ("unreachable", RENEW, GONE, 60.0), ("ok", RENEW, told(0), 70.0)], False, "played", []),
        (
            [*STARTED, ("unreachable", RENEW, GONE, 61.0)],
            False,
            "unreachable",
            ["cannot be reached any more: Connection refused; it ends by itself within 60 s"],
        ),
        # It answers again when its lease was over: it has ended, and was not refused anything.
        (
            [*STARTED, ("unreachable", RENEW, GONE, 55.0), ("ok", RENEW, told(1, messages="ended: the lease"), 62.0)],
            False,
            "unreachable",
            ["ended: the lease"],
        ),
        ([*STARTED, ("failed", RENEW, {"msg": "nothing is known"}, 130.0)], False, "unreachable", ["nothing is known"]),
        ([*STARTED, ("failed", RENEW, {"msg": "nothing is known"}, 30.0)], False, "failed", ["nothing is known"]),
        ([*STARTED, ("ok", RENEW, told(0, summary=SUMMARY), 5.0)], False, "played", []),
        (
            [*STARTED, ("ok", RENEW, told(0), 5.0), ("failed", END, {"msg": "nothing is known"}, 99.0)],
            True,
            "played",
            [],
        ),
        ([*STARTED, ("ok", RENEW, told(0), 5.0), ("unreachable", END, GONE, 99.0)], True, "played", []),
        ([*STARTED, ("ok", END, told(1, messages="interrupted by SIGTERM"), 5.0)], True, "stopped", []),
        (
            [*STARTED, ("ok", RENEW, told(1, messages="interrupted by SIGTERM"), 5.0)],
            False,
            "failed",
            ["interrupted by SIGTERM"],
        ),
        (
            [*STARTED, ("ok", RENEW, told(-9, messages="ended: its supervisor was killed\ninterrupted\n"), 5.0)],
            False,
            "failed",
            ["ended: its supervisor was killed; interrupted"],
        ),
        ([*STARTED, ("ok", RENEW, told(1, bad=[REFUSED]), 5.0)], False, "stopped", ["is bad"]),
        ([*STARTED, ("ok", RENEW, told(3, bad=[REFUSED]), 5.0)], False, "partial", ["is bad"]),
        (
            [*STARTED, ("ok", RENEW, told(2, messages="--start-at was 1.0 s ago"), 5.0)],
            False,
            "failed",
            ["--start-at was 1.0 s ago; give the hosts more time by --lead"],
        ),
        ([*STARTED, ("ok", RENEW, told(-9), 5.0)], False, "failed", ["kokofast play ended with signal 9 (Killed)"]),
        ([*STARTED, ("failed", RENEW, {"msg": "nothing is known"}, 5.0)], False, "failed", ["nothing is known"]),
    ],
)
def test_what_became_of_a_host(
    answers: list[tuple[str, str, dict[str, Any], float]], is_told: bool, status: str, errors: list[str]
) -> None:
    plays = Plays(["h1"], LEASE, places())
    for state, task, found, now in answers:
        plays.hosts["h1"].take(Answer(task, "h1", state, found), now, is_told_to_end=is_told)
    assert plays.hosts["h1"].status == status
    assert [error.message for error in plays.errors()] == errors
    assert {error.source for error in plays.errors() if error.message == "is bad"} <= {"t.jsonl:5 links-update[9].mtu"}
    assert [one.host for one in plays.playing()] == (["h1"] if status == "playing" else [])
    # One that cannot be reached any more plays on until its lease is over; one that never began does not.
    has_begun, code = ("ok", BEGIN, {}, 1.0) in answers, plays.hosts["h1"].code
    goes_on = status == "playing" or (status == "unreachable" and has_begun and code is None)
    assert plays.going_on() == (["h1"] if goes_on else [])


def test_the_clocks_of_all_hosts() -> None:
    plays = Plays(["h1", "h2", "h3"], LEASE, places())
    assert (plays.apart(0), plays.within()) == (None, 0.0)
    for name, offset, error in (("h1", 0.25, 0.01), ("h2", -0.5, 0.02), ("h3", 0.0, 0.04)):
        found = {"offset": offset, "error": error}
        plays.hosts[name].take(Answer(CLOCK, name, "ok", found), 0.0, is_told_to_end=False)
    plays.hosts["h1"].take(Answer(CLOCK_AGAIN, "h1", "ok", {"offset": 0.3, "error": 0.01}), 9.0, is_told_to_end=True)
    assert (plays.apart(0), plays.apart(1)) == (0.75, None)
    assert plays.within() == pytest.approx(0.06)
    assert Clock(-0.1324, 0.008).text() == "0.132 s behind, give or take 0.008 s"


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        (["played", "played"], "played"),
        (["played", "stopped"], "stopped"),
        (["stopped", "failed"], "failed"),
        (["failed", "unreachable"], "partial"),
        (["played", "partial"], "partial"),
        (["unasked", "stopped"], "stopped"),
    ],
)
def test_the_status_of_all_hosts(statuses: list[Any], status: str) -> None:
    plays = Plays(map(str, range(len(statuses))), LEASE, places())
    for one, found in zip(plays.hosts.values(), statuses, strict=True):
        one.status = found
    assert plays.status() == status
