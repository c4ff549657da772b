"""The command `epicrisis`: one verb each."""

from epicrisis.cli.app import app, main

__all__ = ["app", "main"]
