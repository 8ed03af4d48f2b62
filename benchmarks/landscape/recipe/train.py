"""Knobs only: what training would come to is computed, not trained."""

WIDTH = 64  # knob arch: 8 .. 1024 log
DEPTH = 6  # knob arch: 1 .. 32
ACTIVATION = "relu"  # knob arch: "relu" | "gelu" | "tanh" | "silu"

RATE = 0.02  # knob opt: 0.0001 .. 1.0 log
MOMENTUM = 0.8  # knob opt: 0.0 .. 0.99
BATCH = 128  # knob opt: 8 .. 2048 log

FLIP = False  # knob aug: True | False
CROP = 4  # knob aug: 0 .. 16
CUTOUT = 0.2  # knob aug: 0.0 .. 1.0

DECAY = 0.001  # knob reg: 0.0 .. 0.1 log
DROPOUT = 0.2  # knob reg: 0.0 .. 0.9
SMOOTHING = 0.05  # knob reg: 0.0 .. 0.5

NORM = "batch"
SCHEDULE = "constant"
POLICY = "none"
AVERAGE = None
