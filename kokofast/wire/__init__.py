"""rtnetlink bytes: attribute tables, encode, decode, acknowledgements. Pure; imports struct and nothing else.

One sentence of contract: ``encode`` turns names into the bytes the kernel reads and refuses what it does not know,
``decode`` turns the kernel's bytes into names, keeps what it does not know, and raises DecodeError and nothing else.
"""
