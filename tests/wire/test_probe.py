"""Frames and requests of verify, byte by byte, and what the filter in the kernel passes."""

from __future__ import annotations

import struct

import pytest

from kokofast.wire import probe
from tests import golden

NONCE = bytes(range(16))
OURS, THEIRS = bytes.fromhex("0200000000aa"), bytes.fromhex("0200000000bb")
V6 = bytes.fromhex("20010db8000000000000000000123456")


def run(program: bytes, data: bytes) -> int:
    """What a classic BPF program returns for a packet: as net/core/filter.c has it, for its few instructions."""
    at = accumulator = 0
    sizes = {0x20: 4, 0x28: 2, 0x30: 1}
    for _ in range(len(program) // 8):  # they go forward only
        code, equal, other, operand = struct.unpack_from("=HBBI", program, 8 * at)
        at += 1
        if code in sizes:
            if operand + sizes[code] > len(data):
                return 0
            accumulator = int.from_bytes(data[operand : operand + sizes[code]], "big")
        elif code == 0x15:
            at += equal if accumulator == operand else other
        else:
            assert code == 0x06
            return int(operand)
    raise AssertionError("the program has no end")


def test_a_frame() -> None:
    made = probe.frame(7, NONCE, OURS, THEIRS, probe.SMALL)
    assert made == golden.read("frames/probe")
    assert probe.number_of(made, NONCE) == 7
    assert len(probe.frame(7, NONCE, OURS, THEIRS, 1514)) == 1514


@pytest.mark.parametrize("change", [12, 14, 21, 22, 37])
def test_frames_of_others_are_none_of_ours(change: int) -> None:
    made = bytearray(probe.frame(7, NONCE, OURS, THEIRS, probe.SMALL))
    assert run(probe.filter_of(NONCE), bytes(made)) > 0
    made[change] ^= 1
    assert probe.number_of(bytes(made), NONCE) is None
    assert run(probe.filter_of(NONCE), bytes(made)) == 0


def test_the_filter_passes_whole_frames_only() -> None:
    made = probe.frame(7, NONCE, OURS, THEIRS, probe.SMALL)
    program = probe.filter_of(NONCE)
    for length in range(38):
        assert run(program, made[:length]) == 0
        assert probe.number_of(made[:length], NONCE) is None


@pytest.mark.parametrize(("family", "address", "name"), [(2, b"\x0a\0\0\1", "frames/arp"), (10, V6, "frames/nd")])
def test_a_request_for_the_owner_of_an_address(family: int, address: bytes, name: str) -> None:
    made = probe.question(family, address, OURS, THEIRS)
    assert made == golden.read(name)
    assert probe.answer_of(made) is None
    assert run(probe.filter_of(NONCE), made) == 0


@pytest.mark.parametrize(("name", "address"), [("frames/arp_reply", b"\x0a\0\0\1"), ("frames/nd_reply", V6)])
def test_an_answer(name: str, address: bytes) -> None:
    answer = golden.read(name)
    assert probe.answer_of(answer) == address
    program = probe.filter_of(NONCE)
    assert run(program, answer) > 0
    for length in range(len(answer) - len(address)):
        probe.answer_of(answer[:length])  # no exception
    other = {"frames/arp_reply": 21, "frames/nd_reply": 54}[name]
    changed = answer[:other] + b"\1" + answer[other + 1 :]
    assert probe.answer_of(changed) is None
    assert run(program, changed) == 0
