"""Tests on another kernel: a User-mode Linux guest that sees this machine's files, and changes none of them."""
