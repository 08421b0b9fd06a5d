"""Many hosts: the inventory of a file's hosts, Ansible's run of a playbook on them, and what came of it on each."""
