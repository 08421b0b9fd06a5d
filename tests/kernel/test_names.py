"""destroy by file and name, destroy of nothing, and the order and the names that inspect shows."""

from __future__ import annotations

import json

from kokofast.engine.inspect import natural_key
from tests.conftest import links
from tests.kernel.conftest import Lab


def test_destroy_of_a_file_under_another_name(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    lab.write([{"endpoints": [f"{a}:e0", f"{b}:e0"]}])
    other = f"{lab.name}-other"
    try:
        assert lab.kokofast("batch", lab.file, "--name", other).returncode == 0
        assert lab.destroy()["status"] == "unchanged"
        assert set(links(a)) == {"e0"}
        done = lab.kokofast("destroy", lab.file, "--name", other, "--format", "json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["links"] == {"removed": 1, "failed": 0}
        assert links(a) == {}
    finally:
        lab.kokofast("destroy", "--name", other)


def test_destroy_of_nothing_says_so(lab: Lab) -> None:
    done = lab.kokofast("destroy", "--name", lab.name)
    assert done.returncode == 0
    assert done.stdout.startswith(f"{lab.name}: unchanged")
    assert done.stderr == f"kokofast: nothing of the lab {lab.name} was found\n"
    assert lab.destroy()["notes"] == [f"nothing of the lab {lab.name} was found"]
    lab.chain(1)
    lab.batch("--create")
    found = lab.destroy()
    assert "notes" not in found


def test_inspect_counts_as_people_do(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    names = ["r998", "r1000", "r100", "r9"]
    lab.write([{"endpoints": [f"{a}:{name}", f"{b}:{name}"]} for name in names])
    lab.batch()
    found = [link["endpoints"][0]["interface"] for link in lab.inspect()]
    assert found == ["r9", "r100", "r998", "r1000"]


def test_natural_order() -> None:
    texts = ["", "1", "2", "10", "a", "a1b", "a2", "a2b10", "a2b9", "a10", "\u0663", "b"]
    assert sorted(texts, key=natural_key) == [
        "", "1", "2", "10", "a", "a1b", "a2", "a2b9", "a2b10", "a10", "b", "\u0663",
    ]  # fmt: skip
