"""The pages about the configuration say what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.config.page import renewed
from bridge.config.reference import SECTIONS, Setting, settings_of

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_reference_page_is_fresh() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert renewed(page) == page, "run `make docs`"


@pytest.mark.parametrize(
    "setting",
    [setting for section, kind in SECTIONS for setting in settings_of(section, kind)],
    ids=lambda s: s.path,
)
def test_every_key_is_explained(setting: Setting) -> None:
    assert setting.text
