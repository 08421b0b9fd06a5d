"""Runs kokofast on the host, without a shell, and reads what it prints as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import NoReturn

    from ansible.module_utils.basic import AnsibleModule

# Where the role puts the command; sudo's own path often lacks it.
FOLDERS = ["/usr/local/bin", "/opt/kokofast/bin"]
OPTIONS: dict[str, dict[str, Any]] = {"executable": {"type": "str", "default": "kokofast"}}
SOURCE: dict[str, dict[str, Any]] = {"src": {"type": "path"}, "content": {"type": "raw"}}
FILES = ("content", "timeline")  # options that have the text of one
NAME: dict[str, dict[str, Any]] = {"name": {"type": "str", "aliases": ["lab"]}}


def find(module: AnsibleModule) -> str:
    """Return the path of the command. Ends the module when it is not there."""
    name = module.params["executable"]
    path = module.get_bin_path(name, opt_dirs=FOLDERS)
    if path is None:
        fail(
            module,
            f"{name} is not on this host: install it, for example by the role kokofast.lab.install ('hosts deploy "
            "--install'), or say where it is ('executable'; for our playbooks the variable kokofast_executable)",
        )
    return str(path)


def source(module: AnsibleModule) -> tuple[str, str | None]:
    """Return the FILE of the command line, and what it is to read from standard input."""
    content = module.params["content"]
    if content is None:
        return module.params["src"], None
    return "-", content if isinstance(content, str) else json.dumps(content)


def named(module: AnsibleModule) -> list[str]:
    """Return the option --name, if it is given."""
    return [f"--name={module.params['name']}"] if module.params["name"] is not None else []


def run(module: AnsibleModule, arguments: list[str], text: str | None = None) -> tuple[int, Any, str]:
    """Run kokofast; return its exit code, what it printed as JSON (None: nothing that is JSON), and its messages."""
    code, out, messages = module.run_command([find(module), *arguments], data=text, use_unsafe_shell=False)
    result = parse(module, out)
    return code, result, plain(messages if result is not None or messages else out)


def parse(module: AnsibleModule, out: str) -> Any:
    """Return what kokofast printed as JSON, None if it is not; with --diff the plan, too, which may be long."""
    try:
        result = json.loads(out)
    except ValueError:
        return None
    if isinstance(result, dict) and not module._diff:
        result.pop("plan", None)
    return result


def plain(messages: str) -> str:
    """Return messages without the name of the program before each."""
    return "\n".join(line.removeprefix("kokofast: ") for line in messages.strip().splitlines())


def result_of(module: AnsibleModule, code: int, result: Any, messages: str) -> dict[str, Any]:
    """Return the result object of batch, destroy or confirm. Ends the module when there is none, or when it failed."""
    if not isinstance(result, dict) or code not in (0, 4):
        told = told_by(result) if isinstance(result, dict) else []
        message = "\n".join(told) or messages or f"kokofast ended with exit code {code}"
        fail(module, message, code, **({"result": result} if isinstance(result, dict) else {}))
    return result


def told_by(result: dict[str, Any]) -> list[str]:
    """Return the errors of a result, and what is left, a line each."""
    lines = []
    for error in result.get("errors", []):
        place = " ".join(word for word in (error.get("position"), error.get("source")) if word)
        lines.append(f"{place}: {error['message']}" if place else error["message"])
    return lines + [f"could not be taken back: {line}" for line in result.get("left", [])]


def fail(module: AnsibleModule, message: str, code: int | None = None, **found: Any) -> NoReturn:
    """End the module as failed."""
    if code is not None:
        found["rc"] = code
    module.fail_json(msg=message, invocation=invocation(module), **found)
    raise AssertionError("fail_json() returns never")


def leave(module: AnsibleModule, changed: bool, **found: Any) -> NoReturn:
    """End the module."""
    module.exit_json(changed=changed, invocation=invocation(module), **found)
    raise AssertionError("exit_json() returns never")


def invocation(module: AnsibleModule) -> dict[str, Any]:
    """Return the arguments as Ansible shows them, without files: a topology may have thousands of links."""
    return {"module_args": {name: value for name, value in module.params.items() if name not in FILES}}


def links_of(module: AnsibleModule, lab: str | None) -> list[dict[str, Any]]:
    """Return what inspect prints of a lab, or of all. Ends the module when that failed."""
    code, found, messages = run(module, ["inspect", "--format=json", *([lab] if lab is not None else [])])
    nothing = code == 1 and found == [] and lab is not None and f"nothing of the lab {lab} is there" in messages
    if not isinstance(found, list) or (code != 0 and not nothing):
        fail(module, messages or f"kokofast ended with exit code {code}", code=code)
    return found
