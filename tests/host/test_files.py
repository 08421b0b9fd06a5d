"""Files that appear when they are whole, on file systems with and without files that have no name, or two."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kokofast.host import files
from kokofast.host.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

NEW = ["new\n", "text\n"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: str, parts: Any = NEW, *, overwrite: bool = False, other_than: str | None = "none") -> None:
    write_whole(path, parts, overwrite=overwrite, other_than=other_than)


def _without_nameless(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: str, flags: int, *rest: Any, **options: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), path)
        return real(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", refuse)


def _without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    _without_nameless(monkeypatch)
    monkeypatch.setattr(os, "link", refuse)


@pytest.fixture(params=["ext4", "without nameless files", "without hard links", "without /proc"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without nameless files":
        _without_nameless(monkeypatch)
    elif request.param == "without hard links":
        _without_links(monkeypatch)
    elif request.param == "without /proc":
        monkeypatch.setattr(files, "OPEN_FILES", "/nowhere")


@pytest.mark.usefixtures("file_system")
class TestOnEachFileSystem:
    def test_a_new_file(self, folder: Path) -> None:
        write("x.svg")
        assert (folder / "x.svg").read_text() == "new\ntext\n"
        with pytest.raises(FileExistsError):
            write("x.svg", ["other"])
        assert (folder / "x.svg").read_text() == "new\ntext\n"
        assert os.listdir() == ["x.svg"]

    def test_a_file_that_another_program_makes_meanwhile_stays(self, folder: Path) -> None:
        def parts() -> Iterator[str]:
            (folder / "x.svg").write_text("other")
            yield "new"

        with pytest.raises(FileExistsError):
            write("x.svg", parts())
        assert (folder / "x.svg").read_text() == "other"
        assert os.listdir() == ["x.svg"]

    def test_what_is_overwritten_keeps_its_mode(self, folder: Path) -> None:
        (folder / "x.svg").write_text("old")
        (folder / "x.svg").chmod(0o640)
        write("x.svg", overwrite=True)
        assert (folder / "x.svg").read_text() == "new\ntext\n"
        assert (folder / "x.svg").stat().st_mode & 0o777 == 0o640
        assert os.listdir() == ["x.svg"]

    def test_nothing_is_left_of_what_fails(self, folder: Path) -> None:
        def parts() -> Iterator[str]:
            yield "new"
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        (folder / "x.svg").write_text("old")
        for path, overwrite in (("x.svg", True), ("y.svg", False)):
            with pytest.raises(OSError, match="No space left"):
                write(path, parts(), overwrite=overwrite)
        assert (folder / "x.svg").read_text() == "old"
        assert os.listdir() == ["x.svg"]

    def test_the_longest_name(self) -> None:
        write("x" * 255)
        write("x" * 255, overwrite=True)
        assert os.listdir() == ["x" * 255]


def test_nothing_is_left_when_the_program_is_killed(folder: Path) -> None:
    def parts() -> Iterator[str]:
        yield "x" * 100_000
        os.kill(os.getpid(), signal.SIGKILL)

    for path, overwrite in (("x.svg", False), ("x.svg", True)):
        pid = os.fork()
        if pid == 0:
            try:
                write(path, parts(), overwrite=overwrite)
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        assert os.listdir() == []


def test_a_new_file_has_the_mode_that_the_mask_leaves(folder: Path) -> None:
    mask = os.umask(0o027)
    try:
        write("x.svg")
    finally:
        os.umask(mask)
    assert (folder / "x.svg").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_regular_file_is_refused_at_once(overwrite: bool) -> None:
    os.mkfifo("pipe")
    os.mkdir("folder")
    for path in ("pipe", "folder", "/dev/null", "/dev/fd/0"):
        if path == "/dev/fd/0" and os.path.isfile(path):
            continue
        with pytest.raises(OSError, match="is not a regular file; without -o it is printed"):
            write(path, overwrite=overwrite)


def test_what_is_read_is_not_overwritten(folder: Path) -> None:
    (folder / "links.json").write_text("[]")
    (folder / "link").symlink_to("links.json")
    for path in ("links.json", "link", "./links.json"):
        with pytest.raises(OSError, match="it is the file that the links are read from"):
            write(path, overwrite=True, other_than="links.json")
    assert (folder / "links.json").read_text() == "[]"
    with (folder / "links.json").open() as file:
        saved = os.dup(0)
        try:
            os.dup2(file.fileno(), 0)
            with pytest.raises(OSError, match="it is the file that the links are read from"):
                write("links.json", overwrite=True, other_than=None)
        finally:
            os.dup2(saved, 0)
            os.close(saved)
