"""The six cameras of a rendered SYSU-MM01: how each looks at people and what its sensor does.

Visible cameras 1, 2, 4, 5; infrared 3, 6. Cameras 2 and 3 stand at one place: same pitch, same
family of backgrounds. Owns figures only; drawing belongs to `background`, `occlusion`, `sensor`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Camera:
    """One camera. Pitch and yaw in radians; gains multiply red, green, blue; noise in 0..1 units.

    `yaws` are the centres of the directions in which people walk past it.
    """

    number: int
    modality: str
    scenery: str
    pitch: float
    yaws: tuple[float, ...]
    gains: tuple[float, float, float]
    exposure: float
    contrast: float
    noise: float
    blur: float
    occluders: tuple[str, ...]


SYSU_CAMERAS: tuple[Camera, ...] = (
    Camera(
        1,
        "visible",
        "corridor",
        0.16,
        (0.0, 3.14),
        (1.04, 1.0, 0.92),
        1.02,
        1.05,
        0.018,
        0.5,
        ("pole", "person"),
    ),
    Camera(
        2,
        "visible",
        "wall",
        0.24,
        (0.5, -0.5, 2.6),
        (0.98, 1.02, 1.0),
        0.92,
        0.95,
        0.022,
        0.6,
        ("doorway", "person"),
    ),
    Camera(
        3,
        "infrared",
        "wall",
        0.24,
        (0.5, -0.5, 2.6),
        (1.0, 1.0, 1.0),
        1.0,
        1.05,
        0.022,
        0.6,
        ("doorway", "person"),
    ),
    Camera(
        4,
        "visible",
        "outdoor",
        0.10,
        (1.57, -1.57, 0.3),
        (0.95, 1.0, 1.08),
        1.10,
        1.1,
        0.014,
        0.5,
        ("pole", "bench"),
    ),
    Camera(
        5,
        "visible",
        "shelves",
        0.20,
        (3.14, 0.8, -0.8),
        (1.08, 1.0, 0.88),
        0.95,
        0.9,
        0.024,
        0.7,
        ("bench", "doorway"),
    ),
    Camera(
        6,
        "infrared",
        "outdoor",
        0.13,
        (0.0, 1.2, -2.2),
        (1.0, 1.0, 1.0),
        0.95,
        1.0,
        0.026,
        0.7,
        ("pole", "bench"),
    ),
)
