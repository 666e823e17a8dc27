"""Transfer functions, as tables that hold the same numbers on every machine.

Powers and logarithms differ in their last bits between processors. So each function is tabulated once, and
its values are rounded far above those bits. Tables over light are indexed by its fourth root, because the eye
sees finer steps in the dark. A fourth root is two square roots, which every processor computes exactly to the
last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np
from av.video.reformatter import ColorTrc

_ENTRIES: Final = 1 << 16
_LAST: Final = _ENTRIES - 1
_ROUNDING: Final = 2.0**26

PQ_PEAK: Final = 10_000.0
"""Light in cd/m² at the top of PQ."""
HLG_PEAK: Final = 1_000.0
"""Light in cd/m² of the display that HLG is shown on, with the gamma that goes with it."""
_HLG_GAMMA: Final = 1.2

# SMPTE ST 2084.
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32

# ITU-R BT.2100, HLG.
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073

# ITU-R BT.2020, the camera's curve for 12 bits.
_ALPHA, _BETA = 1.0993, 0.0181


def _table(function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    values = function(np.arange(_ENTRIES) / _LAST)
    table: np.ndarray = np.rint(values * _ROUNDING) / _ROUNDING
    table.setflags(write=False)
    return table


def look_up(table: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the entries of a table for `values`, which are clipped to [0, 1]."""
    clipped = np.minimum(np.maximum(values, 0.0), 1.0)
    found: np.ndarray = table[(clipped * _LAST + 0.5).astype(np.int32)]
    return found


def light_of(signal: np.ndarray, transfer: int) -> np.ndarray:
    """Return the light from 0 to 1 that a signal stands for."""
    root = look_up(light_table(transfer), signal)
    square: np.ndarray = root * root
    return square * square


def fourth_root(light: np.ndarray) -> np.ndarray:
    """Return the fourth root of `light`, which may be a little below 0."""
    root: np.ndarray = np.sqrt(np.sqrt(np.maximum(light, 0.0)))
    return root


def pq_light(signal: np.ndarray) -> np.ndarray:
    """Return the light that a PQ signal stands for, in parts of PQ_PEAK."""
    power = signal ** (1 / _M2)
    light: np.ndarray = (np.maximum(power - _C1, 0.0) / (_C2 - _C3 * power)) ** (1 / _M1)
    return light


def pq_signal(light: np.ndarray) -> np.ndarray:
    """Return the PQ signal for light in parts of PQ_PEAK."""
    power = light**_M1
    signal: np.ndarray = ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
    return signal


def _hlg_scene(signal: np.ndarray) -> np.ndarray:
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _C) / _A) + _B) / 12)


def _hlg_signal(scene: np.ndarray) -> np.ndarray:
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), _A * np.log(np.maximum(12 * scene - _B, 1e-9)) + _C)


def _camera_light(signal: np.ndarray) -> np.ndarray:
    power = ((signal + _ALPHA - 1) / _ALPHA) ** (1 / 0.45)
    return np.where(signal < 4.5 * _BETA, signal / 4.5, power)


def _camera_signal(light: np.ndarray) -> np.ndarray:
    return np.where(light < _BETA, 4.5 * light, _ALPHA * light**0.45 - (_ALPHA - 1))


_LIGHT: Final = {int(ColorTrc.SMPTE2084): pq_light, int(ColorTrc.ARIB_STD_B67): _hlg_scene}
_SIGNAL: Final = {int(ColorTrc.SMPTE2084): pq_signal, int(ColorTrc.ARIB_STD_B67): _hlg_signal}


@cache
def light_table(transfer: int) -> np.ndarray:
    """Return the table from a signal to the fourth root of light, in parts of PQ's peak or of the scene's."""
    function = _LIGHT.get(transfer, _camera_light)
    return _table(lambda signal: function(signal) ** 0.25)


@cache
def signal_table(transfer: int) -> np.ndarray:
    """Return the inverse of `light_table`, over the fourth root of light."""
    function = _SIGNAL.get(transfer, _camera_signal)
    return _table(lambda root: function(root**4))


@cache
def system_gain_table() -> np.ndarray:
    """Return by how much HLG's display brightens a scene, over the fourth root of the scene's luminance."""
    return _table(lambda root: (root**4) ** (_HLG_GAMMA - 1))


@cache
def display_table() -> np.ndarray:
    """Return the signal that makes a display of BT.1886 (gamma 2.4) show light, over its fourth root."""
    return _table(lambda root: (root**4) ** (1 / 2.4))


@cache
def compression_table(peak: float, white: float) -> np.ndarray:
    """Return the factor that brings light of up to `peak` below `white`, over the fourth root of the light.

    Light is in parts of PQ_PEAK.

    This is the EETF of ITU-R BT.2390, section 5.4.1, without a lift of black; both are in cd/m².
    """
    top = float(pq_signal(np.array(peak / PQ_PEAK)))
    target = float(pq_signal(np.array(white / PQ_PEAK))) / top
    knee = 1.5 * target - 0.5

    def factor(root: np.ndarray) -> np.ndarray:
        light = root**4
        signal = np.minimum(pq_signal(light) / top, 1.0)
        t = (signal - knee) / (1 - knee)
        curve = (
            (2 * t**3 - 3 * t**2 + 1) * knee
            + (t**3 - 2 * t**2 + t) * (1 - knee)
            + (-2 * t**3 + 3 * t**2) * target
        )
        mapped = pq_light(np.where(signal < knee, signal, curve) * top)
        return np.where(signal < knee, 1.0, mapped / np.maximum(light, 1e-12))

    return _table(
        factor if peak > white else lambda root: np.minimum(1.0, white / PQ_PEAK / np.maximum(root**4, 1e-12))
    )
