"""The harness itself: what a guest passes on, what it leaves alone, how it ends, and that it cannot hide a failure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests import ROOT
from tests.vm.inside import GuestRun, Outcome, merged, read_results, run_tests
from tests.vm.uml import EXCHANGE, Guest, GuestError, GuestTimeout, cause_of, two_guests


def processes_of(folder: str) -> list[str]:
    """The processes with this guest folder on their command line. Ones that have ended have none."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if os.fsencode(folder) in command:
            found.append(f"{path.parent.name}: {command!r}")
    return found


def assert_gone(folder: str) -> None:
    assert not Path(folder).exists()
    deadline = time.monotonic() + 10
    while (left := processes_of(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def pytest_here(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Another pytest on this machine: an outer run."""
    pytest_command = ("-m", "pytest", "-c", str(ROOT / "pyproject.toml"))
    return python_here(*pytest_command, "-p", "no:cacheprovider", *arguments, **env)


def python_here(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**kept, **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


class TestRun:
    def test_output_and_exit_status_are_passed_on(self, guest: Guest) -> None:
        done = guest.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
        assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")

    def test_arguments_folder_and_environment_are_passed_on(self, guest: Guest, tmp_path: Path) -> None:
        value = "a 'b' \"c\" $d\n*"
        script = 'printf %s "$1$KOKO_TEST"; pwd'
        done = guest.run(["sh", "-c", script, "sh", value], cwd=tmp_path, env={"KOKO_TEST": value})
        assert done.stdout == f"{value}{value}{tmp_path}\n", done.stderr

    def test_much_output_comes_out_whole(self, guest: Guest) -> None:
        done = guest.run(["seq", "200000"])
        assert done.stdout == "".join(f"{number}\n" for number in range(1, 200001))

    def test_output_is_there_while_the_command_runs(self, guest: Guest) -> None:
        go = guest.exchange / "go"
        seen = []

        def on_output(stream: str, text: bytes) -> None:
            seen.append((stream, text))
            go.touch()

        script = f"echo first; while [ ! -e {EXCHANGE}/go ]; do sleep 0.1; done; echo second >&2"
        assert guest.run(["sh", "-c", script], on_output=on_output, timeout=60).returncode == 0
        assert seen == [("out", b"first\n"), ("err", b"second\n")]

    def test_a_missing_command_is_its_own_failure(self, guest: Guest) -> None:
        done = guest.run(["no-such-command"])
        assert done.returncode == 127
        assert "no-such-command" in done.stderr

    def test_files_of_the_host_are_seen_and_never_changed(self, guest: Guest, tmp_path: Path) -> None:
        for name in ("changed", "removed"):
            (tmp_path / name).write_text("host")
        script = "cat changed removed; echo guest >changed; echo guest >new; rm removed; cat changed; ls"
        done = guest.run(["sh", "-c", script], cwd=tmp_path)
        assert done.stdout == "hosthostguest\nchanged\nnew\n", done.stderr
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"changed": "host", "removed": "host"}


class TestEnd:
    def test_a_command_that_takes_too_long_takes_the_guest_with_it(self, requires_guest: None) -> None:
        with Guest() as guest:
            folder = str(guest.exchange.parent)
            assert processes_of(folder)
            with pytest.raises(GuestTimeout, match=r"sleep 1000.* took more than 1 s in the guest:\nsaid\n"):
                guest.run(["sh", "-c", "echo said; sleep 1000 & sleep 1000"], timeout=1)
            assert_gone(folder)

    def test_a_guest_that_ends_by_itself_is_told_with_its_console(self, requires_guest: None) -> None:
        with Guest() as guest:
            folder = str(guest.exchange.parent)
            with pytest.raises(GuestError, match=r"(?s)the guest is gone.*System halted"):
                guest.run(["busybox", "poweroff", "-f"], timeout=60)
        assert_gone(folder)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_the_command_line_and_its_guest(self, requires_guest: None, number: signal.Signals) -> None:
        command = [sys.executable, "-m", "tests.vm", "--", "sh", "-c", "cat /proc/cmdline; sleep 1000"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            words = dict(word.partition("=")[::2] for word in process.stdout.readline().split())
            folder = str(Path(words["guest_exchange"]).parent)
            assert processes_of(folder)
            process.send_signal(number)
            assert process.wait(30) == 128 + number
        assert_gone(folder)


class TestStart:
    # The larger register state of processors with AMX kills a guest whose kernel is not helped with it.
    @pytest.mark.usefixtures("requires_guest")
    @pytest.mark.parametrize("shim", ["on", "off"])
    def test_a_guest_starts_on_every_processor_or_names_the_cause(self, shim: str) -> None:
        dies = shim == "off" and "amx_tile" in Path("/proc/cpuinfo").read_text(encoding="ascii")
        done = python_here("-m", "tests.vm", "--", "echo", "started", KOKOFAST_GUEST_SHIM=shim)
        if dies:
            assert (done.returncode, done.stdout) == (125, "")
            assert "register state" in done.stderr
            assert "KOKOFAST_GUEST_SHIM" in done.stderr
        else:
            assert (done.returncode, done.stdout) == (0, "started\n"), done.stderr

    @pytest.mark.usefixtures("requires_guest")
    def test_registers_survive_a_change_of_process(self, guest: Guest) -> None:
        # Two processes that hold different numbers in their vector registers, on one processor.
        count = 'BEGIN { for (i = 1; i <= 200000; i++) sum += start / 3; printf("%.6f\\n", sum) }'
        script = f"for start in 3 6 9; do awk -v start=$start '{count}' & done; wait"
        done = guest.run(["sh", "-c", script])
        assert sorted(done.stdout.split()) == ["200000.000000", "400000.000000", "600000.000000"], done.stderr

    @pytest.mark.parametrize(
        ("console", "cause"),
        [
            ("", ""),
            ("System halted.\n", ""),
            ("Kernel panic - not syncing: Out of memory\nCPU: 0\n", "Out of memory"),
            ("init: no overlay module\nSystem halted.\n", "init: no overlay module"),
            ("taskset: failed to execute linux.uml: gone\n", "taskset: failed to execute linux.uml: gone"),
        ],
    )
    def test_the_cause_of_an_end_is_read_off_the_console(self, console: str, cause: str) -> None:
        assert cause_of(console) == cause


def test_a_cable_joins_two_guests(requires_guest: None) -> None:
    with two_guests() as (one, other):
        for guest, address in ((one, "10.6.0.1/24"), (other, "10.6.0.2/24")):
            script = f"ip address add {address} dev vec0 && ip link set vec0 up"
            assert guest.run(["sh", "-c", script]).returncode == 0
        done = one.run(["ping", "-c", "1", "-W", "10", "-M", "do", "-s", "1472", "10.6.0.2"])
        assert done.returncode == 0, done.stdout + done.stderr


class TestNothingIsHidden:
    def test_what_is_broken_in_the_guest_breaks_the_outer_run(self, requires_guest: None, tmp_path: Path) -> None:
        broken = tmp_path / "test_broken.py"
        source = """
            import platform
            import pytest

            @pytest.mark.guest
            def test_good():
                pass

            @pytest.mark.guest
            def test_bad():
                print("printed", "in the guest")
                assert platform.release() == "broken on purpose"

            def test_absent():
                pytest.skip("as if something was missing")
        """
        broken.write_text(textwrap.dedent(source))
        # The command of the README, and of CI.
        run = ("tests/run.py", "--no-lint", "-p", "no:cacheprovider", "tests/vm/test_guest.py")
        done = python_here(*run, KOKOFAST_GUEST_SELECTION=str(broken))
        assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
        assert "1 tests ran natively" in done.stdout
        assert "3 tests ran (1 passed, 2 failed) in 2 guests" in done.stdout
        assert "== 'broken on purpose'" in done.stdout
        assert "printed in the guest" in done.stdout
        assert "skipped in the guest, where nothing may be missing: Skipped: as if something was missing" in done.stdout

    def test_two_guests_share_the_tests(self) -> None:
        def collected(share: str) -> list[str]:
            command = ("--collect-only", "-q", "-p", "tests.vm.marker", "tests/kernel/test_names.py")
            done = pytest_here(*command, KOKOFAST_GUEST="1", KOKOFAST_GUEST_SHARE=share)
            return [line for line in done.stdout.splitlines() if "::" in line]

        whole, first, second = collected("1/1"), collected("1/2"), collected("2/2")
        assert (first, second) == (whole[::2], whole[1::2])
        assert len(second) > 1

    def test_a_share_that_is_lacking_or_failed_is_seen(self) -> None:
        def share(*names: str, status: int = 0) -> GuestRun:
            return GuestRun("6", status, tuple(Outcome(name, "passed", 1) for name in names), "", 1)

        none = share(status=pytest.ExitCode.NO_TESTS_COLLECTED)
        assert merged([share("a", "b"), share("c")]).passed
        assert merged([share("a"), none]).passed
        assert not merged([none, none]).passed
        assert not merged([share("a", "b"), none]).passed
        assert not merged([share("a"), share("a")]).passed
        assert not merged([share("a"), share("b", status=2)]).passed
        assert not merged([share("a", status=-9), share("b")]).passed
        assert merged([share("a", "b"), share("c")]).ran == 3

    @pytest.mark.parametrize("content", ["", "import no_such_module\n"])
    def test_a_selection_that_runs_nothing_has_not_passed(self, guest: Guest, tmp_path: Path, content: str) -> None:
        path = tmp_path / "test_none.py"
        path.write_text(content)
        run = run_tests(guest, [path], timeout=120)
        assert not run.passed
        assert run.status != 0

    @pytest.mark.parametrize(("ci", "code", "word"), [("true", 1, "allows no skipping"), ("", 0, "1 skipped")])
    def test_no_user_mode_linux_is_a_failure_on_ci_only(self, ci: str, code: int, word: str) -> None:
        done = pytest_here("tests/vm/test_guest.py", PATH="/nowhere", CI=ci)
        assert done.returncode == code, done.stdout + done.stderr
        assert "needs the Debian packages user-mode-linux" in done.stdout
        assert word in done.stdout

    def test_a_marked_test_where_the_guest_does_not_look_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "test_lost.py").write_text("import pytest\n@pytest.mark.guest\ndef test_it(): pass\n")
        done = pytest_here("-p", "tests.vm.marker", str(tmp_path))
        assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
        assert "would never run" in done.stderr

    def test_marked_tests_are_deselected_here(self) -> None:
        done = pytest_here("--collect-only", "-q", "tests/vm/guest", "-p", "tests.vm.marker")
        assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout + done.stderr
        assert "deselected" in done.stdout

    def test_each_outcome_is_read(self) -> None:
        text = """<testsuites><testsuite>
            <testcase classname="a" name="good" time="0.5"/>
            <testcase classname="a" name="bad" time="1"><failure message="no">text</failure></testcase>
            <testcase classname="" name="a.py" time="0"><error message="import"/></testcase>
            <testcase classname="a" name="not" time="0"><skipped type="pytest.skip" message="why"/></testcase>
            <testcase classname="a" name="known" time="0"><skipped type="pytest.xfail" message="bug"/></testcase>
        </testsuite></testsuites>"""
        assert read_results(text) == (
            Outcome("a::good", "passed", 0.5),
            Outcome("a::bad", "failed", 1.0, "no"),
            Outcome("a.py", "error", 0.0, "import"),
            Outcome("a::not", "skipped", 0.0, "why"),
            Outcome("a::known", "xfailed", 0.0, "bug"),
        )
