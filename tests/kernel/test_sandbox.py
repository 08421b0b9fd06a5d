"""Without root; strangers that look like us; destroy --all, which only a machine of its own may be given."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest

from tests.conftest import BECOME_NOBODY, RunKokofast, namespaces
from tests.kernel.conftest import COMMAND, run

pytestmark = pytest.mark.usefixtures("requires_root")

AS_NOBODY = f"""{BECOME_NOBODY}
from kokofast.__main__ import main
sys.exit(main())
"""


def as_nobody(*arguments: str, input: str = "") -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-c", AS_NOBODY, *arguments], input=input)


CHAIN = '{"endpoints": ["r0:e0:10.0.0.0/31", "r1:e0:10.0.0.1/31"]}\n{"endpoints": ["r1:e1", "r2:e0"]}\n'


@pytest.mark.parametrize("arguments", [["batch", "-"], ["destroy", "--name", "x"], ["inspect"], ["destroy", "--all"]])
def test_without_root_a_sentence_says_what_is_needed(arguments: list[str]) -> None:
    done = as_nobody(*arguments, input=CHAIN)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "needs root" in line
    assert "CAP_SYS_ADMIN" in line
    assert "--sandbox" in line


def test_what_needs_no_root() -> None:
    assert as_nobody("validate", "-", input=CHAIN).returncode == 0
    assert as_nobody("schema").returncode == 0


@pytest.mark.parametrize("who", ["root", "nobody"])
@pytest.mark.parametrize("code", [0, 7])
def test_the_sandbox_runs_a_command_and_is_gone(kokofast: RunKokofast, who: str, code: int) -> None:
    script = f"ip netns list; ip -n r1 -o link show e0; exit {code}"
    command = ["batch", "-", "--sandbox", "--quiet", "--", "sh", "-c", script]
    done = as_nobody(*command, input=CHAIN) if who == "nobody" else kokofast(*command, input=CHAIN)
    assert done.returncode == code, done.stderr
    assert {line.split()[0] for line in done.stdout.splitlines()[:3]} == {"r0", "r1", "r2"}
    assert "LOWER_UP" in done.stdout
    assert not namespaces() & {"r0", "r1", "r2"}


def test_packets_pass_in_the_sandbox(kokofast: RunKokofast) -> None:
    command = ["ip", "netns", "exec", "r0", "ping", "-c", "1", "-w", "5", "10.0.0.1"]
    done = kokofast("batch", "-", "--sandbox", "--", *command, input=CHAIN)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_command_of_the_sandbox_that_is_not_there(kokofast: RunKokofast) -> None:
    done = kokofast("batch", "-", "--sandbox", "--", "/no/such/command", input=CHAIN)
    assert done.returncode == 127
    assert done.stderr == "kokofast: /no/such/command: No such file or directory\n"


def test_the_sandboxs_command_is_not_run_when_the_batch_fails(kokofast: RunKokofast) -> None:
    # IPv6 needs an MTU of 1280; that the parent leaves less only the kernel finds out.
    bad = '{"endpoints": ["r0:e0", "r1:e0"], "mtu": 1000}\n'
    bad += '{"type": "macvlan", "endpoint": "r1:e1:2001:db8::1/64", "parent": "r1:e0"}\n'
    done = kokofast("batch", "-", "--sandbox", "--", "echo", "run", input=bad)
    assert done.returncode == 1
    assert "run\n" not in done.stdout


def on_a_machine_of_its_own(script: str) -> str:
    """Runs a shell script where nothing of this machine can be seen: neither its namespaces nor its processes."""
    kokofast = shlex.join(COMMAND)
    prepare = f'set -e; mount -t tmpfs none /run; mkdir /run/netns; kokofast() {{ {kokofast} "$@"; }}\n'
    done = run(["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", prepare + script])
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


IMITATE = """
ip netns add a; ip netns add b
echo '{"name": "one", "links": [{"endpoints": ["a:e0", "b:e0"]}, {"endpoints": ["a:e1", "b:e1"]},
      {"endpoints": ["a:e2", "new:e0"]}]}' >/run/one.json
echo '{"endpoints": ["a:x0", "b:x0"]}' >/run/two.jsonl
kokofast batch /run/one.json --create --quiet
kokofast batch /run/two.jsonl --quiet
group=$(ip -n a -d -o link show e0 | sed 's/.* group \\([0-9]*\\) .*/\\1/')
ip -n a link add group-only type veth peer name ours-not
ip -n a link set group-only group $group
ip -n a link set ours-not group $group alias uplink
ip -n b link add alias-only type veth peer name other
ip -n b link set alias-only alias kokofast:one:a:e0--b:e0
ip netns add looks-like
ip -n looks-like link set lo alias kokofast:one:somewhere
"""


def names_in(output: str) -> set[str]:
    """The interfaces in lines of ``ip -o link``, the namespaces in those of ``ip netns list``."""
    lines = [line.split(": ") if ": <" in line else ["", line.split()[0]] for line in output.splitlines() if line]
    return {fields[1].partition("@")[0] for fields in lines}


def test_destroy_all_takes_ours_and_leaves_strangers() -> None:
    output = on_a_machine_of_its_own(
        IMITATE + "kokofast inspect\n"
        "kokofast destroy --all --quiet\n"
        "echo left; ip -n a -o link; ip -n b -o link; ip netns list\n"
        "kokofast inspect\n"
    )
    before, _, after = output.partition("left\n")
    assert "4 links, 1 namespace, 2 labs" in before
    assert "0 links, 0 labs" in after
    names = names_in(after)
    assert {"group-only", "ours-not", "alias-only", "looks-like"} <= names
    assert not {"e0", "e1", "e2", "x0", "new"} & names


def test_destroy_by_name_leaves_other_labs_and_strangers() -> None:
    output = on_a_machine_of_its_own(
        IMITATE + "kokofast destroy --name one --quiet\n"
        "kokofast inspect\n"
        "echo left; ip -n a -o link; ip -n b -o link; ip netns list\n"
    )
    seen, _, after = output.partition("left\n")
    assert "1 link, 1 lab" in seen
    names = names_in(after)
    assert {"group-only", "ours-not", "alias-only", "looks-like", "x0"} <= names
    assert not {"e0", "e1", "e2", "new"} & names


def test_a_machine_without_any_named_namespace() -> None:
    output = on_a_machine_of_its_own(
        "rmdir /run/netns\n"
        "kokofast inspect\n"
        "kokofast destroy --all\n"
        'echo \'{"endpoints": ["a:e0", "b:e0"]}\' >/run/one.jsonl\n'
        "kokofast batch /run/one.jsonl --create\n"
        "ip netns list\n"
        "ip netns add later; ip netns exec later true; ip netns delete later\n"
        "kokofast destroy /run/one.jsonl\n"
    )
    assert "0 links" in output
    assert "applied, 1 link created, 2 namespaces created" in output
    assert "destroyed, 1 link removed, 2 namespaces removed" in output


def test_a_lab_whose_namespaces_are_lived_in() -> None:
    output = on_a_machine_of_its_own(
        'echo \'{"endpoints": ["a:e0", "b:e0"]}\' >/run/one.jsonl\n'
        "kokofast batch /run/one.jsonl --create --quiet\n"
        "ip netns exec a sleep 600 & sleeper=$!\n"
        'until [ "$(readlink /proc/$sleeper/exe)" = "$(readlink -f "$(command -v sleep)")" ]; do :; done\n'
        "kokofast destroy --all 2>&1\n"
        "nsenter --net=/proc/$sleeper/ns/net ip -o link\n"
        "kill $sleeper\n"
    )
    assert "namespace a has lost its name, but lives on" in output
    assert "destroyed, 1 link removed, 2 namespaces removed" in output
    assert "e0" not in output


def test_nobody_has_left_root_by_accident() -> None:
    # The other tests say nothing when the helper above stays root.
    assert os.geteuid() == 0
    done = run([sys.executable, "-c", AS_NOBODY.replace("sys.exit(main())", "print(os.getresuid(), os.getgroups())")])
    assert done.stdout == "(65534, 65534, 65534) []\n", done.stderr
