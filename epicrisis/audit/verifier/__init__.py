"""Checks an exported history offline: standard library and ``cryptography``, nothing of the rest of Epicrisis.

Whoever does not trust us can read this folder at one sitting, and run it anywhere (`epicrisis-verify --copy FILE`).
"""
