"""For every test. A slow or busy machine is no fault of what is tested: no deadline per example."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("releve", deadline=None)
settings.load_profile("releve")
