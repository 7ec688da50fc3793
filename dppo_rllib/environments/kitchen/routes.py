"""How the scripted expert does each subtask: where its hand goes, one waypoint after the other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Waypoint:
    """Where the hand goes next.

    Attributes:
        site: MuJoCo's, from which to count as it is when the hand sets out.
        offset: To where, in metres along the axes of the world: right, away from the robot, up.
        yaw: How far the hand is turned to the left of straight ahead, in radians.
        closed: Whether the fingers close.
        speed: At most, in m/s.
        tolerance: How near is there, in metres.
        patience: Steps after which it goes on all the same.
        works: It is on this way that the subtask gets done; once it is, the hand goes on.
    """

    site: str
    offset: tuple[float, float, float]
    yaw: float = 0.0
    closed: bool = True
    speed: float = 1.0
    tolerance: float = 0.03
    patience: int = 30
    works: bool = False


def _pull(offset: tuple[float, float, float], yaw: float) -> Waypoint:
    return Waypoint("microhandle_site", offset, yaw, speed=0.8, patience=12, works=True)


ROUTES: dict[str, tuple[Waypoint, ...]] = {
    # The fingers hold weakly: what opens the door is that it is pulled fast.
    "microwave": (
        Waypoint("microhandle_site", (0.04, -0.14, 0.08), 0.3, closed=False, tolerance=0.04),
        Waypoint("microhandle_site", (0.0, 0.01, 0.08), 0.3, closed=False, tolerance=0.02),
        Waypoint("microhandle_site", (0.0, 0.01, 0.08), 0.3, tolerance=0.0, patience=4),
        _pull((0.0, -0.13, 0.08), 0.3),
        _pull((-0.03, -0.13, 0.08), 0.3),
        _pull((-0.06, -0.13, 0.08), 0.2),
        _pull((-0.09, -0.13, 0.08), 0.1),
        Waypoint("microhandle_site", (0.08, -0.14, 0.12), closed=False, tolerance=0.05),
    ),
    # Fingers through its handle. It tips, and stands again once it is let go.
    "kettle": (
        Waypoint("kettle_site", (0.0, -0.22, -0.07), tolerance=0.04),
        Waypoint("kettle_site", (0.0, 0.3, -0.07), speed=0.9, patience=38, works=True),
        Waypoint("kettle_site", (0.0, -0.22, -0.07), tolerance=0.04),
    ),
    # From the right.
    "light switch": (
        Waypoint("light_site", (0.08, -0.15, 0.0)),
        Waypoint("light_site", (0.07, -0.04, 0.0), tolerance=0.02),
        Waypoint("light_site", (-0.15, -0.04, 0.0), works=True),
        Waypoint("light_site", (0.0, -0.2, 0.0), tolerance=0.05),
    ),
    # From the left.
    "slide cabinet": (
        Waypoint("slide_site", (-0.1, -0.15, 0.0), tolerance=0.04),
        Waypoint("slide_site", (-0.08, -0.03, 0.0)),
        Waypoint("slide_site", (0.25, -0.03, 0.0), works=True),
        Waypoint("slide_site", (0.0, -0.2, 0.0), tolerance=0.05),
    ),
    # The upper end of its grip, from the left.
    "bottom burner": (
        Waypoint("knob2_site", (-0.08, -0.15, 0.035)),
        Waypoint("knob2_site", (-0.06, -0.035, 0.035), tolerance=0.015),
        Waypoint("knob2_site", (0.1, -0.035, 0.02), patience=40, works=True),
        Waypoint("knob2_site", (0.0, -0.2, 0.0), tolerance=0.05),
    ),
}
