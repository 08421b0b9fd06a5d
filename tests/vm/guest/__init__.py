"""Tests that run in the guest only, all of them marked ``guest``."""
