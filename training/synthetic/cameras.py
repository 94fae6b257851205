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
        number=1,
        modality="visible",
        scenery="corridor",
        pitch=0.16,
        yaws=(0.0, 0.3, -0.3, 3.14),
        gains=(1.04, 1.0, 0.92),
        exposure=1.02,
        contrast=1.05,
        noise=0.012,
        blur=0.5,
        occluders=("pole", "person"),
    ),
    Camera(
        number=2,
        modality="visible",
        scenery="wall",
        pitch=0.24,
        yaws=(0.5, -0.5, 0.1, 2.9),
        gains=(0.98, 1.02, 1.0),
        exposure=0.92,
        contrast=0.95,
        noise=0.015,
        blur=0.6,
        occluders=("doorway", "person"),
    ),
    Camera(
        number=3,
        modality="infrared",
        scenery="wall",
        pitch=0.24,
        yaws=(0.5, -0.5, 0.1, 2.9),
        gains=(1.0, 1.0, 1.0),
        exposure=1.0,
        contrast=1.05,
        noise=0.015,
        blur=0.6,
        occluders=("doorway", "person"),
    ),
    Camera(
        number=4,
        modality="visible",
        scenery="outdoor",
        pitch=0.1,
        yaws=(1.1, -0.9, 0.4, -0.3),
        gains=(0.95, 1.0, 1.08),
        exposure=1.1,
        contrast=1.1,
        noise=0.01,
        blur=0.5,
        occluders=("pole", "bench"),
    ),
    Camera(
        number=5,
        modality="visible",
        scenery="shelves",
        pitch=0.2,
        yaws=(3.14, 0.6, -0.6, 0.2),
        gains=(1.08, 1.0, 0.88),
        exposure=0.95,
        contrast=0.9,
        noise=0.016,
        blur=0.7,
        occluders=("bench", "doorway"),
    ),
    Camera(
        number=6,
        modality="infrared",
        scenery="outdoor",
        pitch=0.13,
        yaws=(0.0, 0.7, -0.5, -2.7),
        gains=(1.0, 1.0, 1.0),
        exposure=1.0,
        contrast=1.05,
        noise=0.018,
        blur=0.7,
        occluders=("pole", "bench"),
    ),
)
