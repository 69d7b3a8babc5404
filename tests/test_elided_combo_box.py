"""A list whose choice ends in an ellipsis where it does not fit."""

import os

import pytest

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtWidgets import QApplication

from ui.widgets.elided_combo_box import ElidedComboBox


@pytest.mark.parametrize("choice", ["DeepRegularizer", "Sign: automatic"])
def test_a_choice_is_shortened_only_where_it_does_not_fit(qapp: QApplication, choice: str) -> None:
    box = ElidedComboBox()
    box.addItem(choice)
    box.resize(box.sizeHint())
    assert box.shown_text == choice

    box.resize(box.width() - 10, box.height())
    assert box.shown_text != choice
    assert box.shown_text.endswith("\N{HORIZONTAL ELLIPSIS}")
