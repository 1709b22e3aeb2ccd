"""YunoHost as a platform: what a server is told (`commands`), what it answers (`answers`), what
went wrong (`errors`), what an app asks for before it is installed (`arguments`).

Facts about YunoHost stand in the docstrings as "seen: recording NNN": the recordings of a real
12.1.25 lie in tests/contract/recordings.
"""
