"""``python -m bench``: kokofast, the floor and what users would pick instead, on the same links, side by side."""
