"""A topology of containerlab whose nodes are the containers of a lab that runs."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import RunKokofast
from tests.runtimes.engines import Docker


def test_containers_of_a_running_lab(engine: Docker, kokofast: RunKokofast, tmp_path: Path) -> None:
    first, second = engine.start(), engine.start()
    file = tmp_path / "lab.clab.yml"
    file.write_text(
        f'name: kft-clab\nprefix: ""\ntopology:\n  nodes: {{{first}: , {second}: , unused: }}\n  links:\n'
        f'    - {{endpoints: ["{first}:eth1", "{second}:ethernet-1/1"], ipv4: [10.1.0.1/24, 10.1.0.2/24]}}\n'
    )
    host = {"DOCKER_HOST": f"unix://{engine.socket}", "CONTAINER_HOST": f"unix://{engine.socket}"}
    done = kokofast("batch", str(file), "--runtime", engine.kind, env=host)
    try:
        assert (done.returncode, "1 link created" in done.stdout) == (0, True), done.stderr
        engine("exec", first, "ping", "-c", "1", "-W", "5", "10.1.0.2")
        assert "ethernet-1-1" in engine("exec", second, "ip", "link")
    finally:
        done = kokofast("destroy", str(file), "--runtime", engine.kind, env=host)
    assert "1 link removed" in done.stdout, done.stderr
