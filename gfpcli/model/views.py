"""How faces are shown to the small built-in networks. No torch here: whoever cuts the views need not load it."""

from __future__ import annotations

VIEW_SIZE = 80  # px of the square that the landmark network sees
FACE_SIDE = 52.0  # px of the longer side of the face's box in it
MEAN_SHAPE = (-0.22, -0.13, 0.22, -0.13, 0.0, 0.12, -0.18, 0.31, 0.18, 0.31)  # landmarks it begins with, in FACE_SIDE
IDENTITY_VIEW = 96  # px of the square that the identity network sees
