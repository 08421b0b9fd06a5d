"""Options that all modules have."""

from __future__ import annotations


class ModuleDocFragment:
    """What each module's documentation has of the command."""

    DOCUMENTATION = r"""
options:
  executable:
    description:
      - The command C(kokofast) on the host, a name or a path.
      - A name is also looked for where the role P(kokofast.lab.install#role) puts it.
    type: str
    default: kokofast
requirements:
  - kokofast on the host, and root, for example by C(become)
author:
  - The authors of kokofast (@kokofast)
"""
