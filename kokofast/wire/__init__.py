"""Encode and decode rtnetlink messages: attribute tables, requests, acknowledgements. Pure.

``encode`` turns names into the bytes that the kernel reads, and refuses names that it does not know. ``decode`` turns
the kernel's bytes into names, keeps attributes that it does not know, and raises DecodeError only.
"""
