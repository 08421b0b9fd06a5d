"""Coverage-guided fuzzing: bytes that were never meant to be understood, chosen by which branches they reach.

    pip install -e '.[test,fuzz]'
    python -m tests.fuzz wire -max_total_time=600
    python -m tests.fuzz topology -max_total_time=600 /var/tmp/corpus

A target is a module here with ``run_one(data)``, which raises on a finding, and ``SEEDS`` to start from. What follows
its name goes to libFuzzer: limits, and a directory in which to keep what it found interesting. A finding is written to
the file ``crash-...``; ``python -m tests.fuzz wire crash-...`` repeats it. test_targets.py runs every target over its
seeds and their mutations without atheris, so that none of them can rot.
"""
