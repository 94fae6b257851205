"""One crop of one person seen by one camera, and the random stream that decides everything else.

Identity lives in the person. The crop's size, background, occluder, pose, light and noise come
from `rng`, in an order that does not depend on who is rendered.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.synthetic.background import draw_background
from training.synthetic.cameras import Camera
from training.synthetic.compose import paint_person
from training.synthetic.figure import start_figure
from training.synthetic.occlusion import draw_occluder
from training.synthetic.people import Person
from training.synthetic.pose import View, draw_gait
from training.synthetic.raster import Floats
from training.synthetic.sensor import expose, illuminator, light_infrared, light_visible
from training.synthetic.surface import draw_relief

RENDERER_VERSION = 1
CANVAS_HEIGHT = 352
"""Rows of the canvas that a figure is painted on, before it is read out at the crop's size."""
CROP_STREAM = 0x4352_4F50


@dataclass(frozen=True)
class RenderedCrop:
    """One crop: `image` uint8 (H, W, 3), infrared with three equal channels; `person_mask` bool
    (H, W), true where the person is seen (not where something stands in front)."""

    image: NDArray[np.uint8]
    person_mask: NDArray[np.bool_]


@dataclass(frozen=True)
class _Frame:
    """A detector's box around somebody: the crop's size and where the person stands in it."""

    size: tuple[int, int]
    canvas: tuple[int, int]
    fill: float
    floor: float
    centre: float
    yaw: float
    pitch: float


def crop_rng(
    seed: int, person_index: int, camera_number: int, image_number: int
) -> np.random.Generator:
    """The random stream of one image: hashed, so that neighbouring keys share nothing."""
    return np.random.default_rng([CROP_STREAM, seed, person_index, camera_number, image_number])


def render_crop(person: Person, camera: Camera, rng: np.random.Generator) -> RenderedCrop:
    """Render one crop of a person as a camera would report it."""
    return _render(person, camera, rng)


def render_empty(camera: Camera, rng: np.random.Generator) -> RenderedCrop:
    """Render the same crop with nobody in it: what is left once the person is taken away."""
    return _render(None, camera, rng)


def _render(person: Person | None, camera: Camera, rng: np.random.Generator) -> RenderedCrop:
    streams = [np.random.default_rng(int(n)) for n in rng.integers(2**62, size=6)]
    frame = _draw_frame(camera, streams[0])
    height, width = frame.canvas
    scene = draw_background(camera.scenery, height, width, streams[1])
    _ground_shadow(scene, frame)
    infrared = camera.modality == "infrared"
    if infrared:
        scene = scene[:, :, :1] * np.float32(streams[1].uniform(0.2, 0.55))
    mask = np.zeros(frame.canvas, np.bool_)
    if person is not None:
        mask = _paint(person, scene, frame, infrared, streams[2], streams[3])
    occluder = draw_occluder(camera.occluders, height, width, streams[4])
    if occluder is not None:
        pixels, cover = occluder
        np.copyto(scene, pixels[:, :, : scene.shape[2]], where=cover[:, :, None])
        mask &= ~cover
    if infrared:
        scene = scene * illuminator(height, width, streams[5])[:, :, None]
    image = expose(scene, camera, frame.size, streams[5])
    return RenderedCrop(image, _shrink(mask, frame.size))


def _draw_frame(camera: Camera, rng: np.random.Generator) -> _Frame:
    tall = int(rng.integers(160, 261))
    aspect = rng.uniform(2.0, 2.9)
    wide = round(tall / aspect)
    yaw = camera.yaws[int(rng.integers(len(camera.yaws)))] + rng.normal(0, 0.25)
    return _Frame(
        size=(tall, wide),
        canvas=(CANVAS_HEIGHT, round(CANVAS_HEIGHT / aspect)),
        fill=float(rng.uniform(0.87, 0.97)),
        floor=float(rng.uniform(0.945, 1.0)),
        centre=float(0.5 + rng.normal(0, 0.035)),
        yaw=float(yaw),
        pitch=float(camera.pitch + rng.normal(0, 0.03)),
    )


def _ground_shadow(scene: Floats, frame: _Frame) -> None:
    """Darken the floor where somebody stands; its shape is the same for everybody."""
    height, width = frame.canvas
    x = (np.arange(width) - frame.centre * width) / (0.11 * height)
    top = int((frame.floor - 0.085) * height)
    y = (np.arange(top, height) - (frame.floor - 0.005) * height) / (0.022 * height)
    shadow = 0.5 * np.exp(-0.5 * (x[None, :] ** 2 + y[:, None] ** 2))
    scene[top:] *= (1.0 - shadow).astype(np.float32)[:, :, None]


def _paint(
    person: Person,
    scene: Floats,
    frame: _Frame,
    infrared: bool,
    pose_rng: np.random.Generator,
    light_rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Paint the person into the scene. Returns the mask of what it covers."""
    height, width = frame.canvas
    pitch = max(frame.pitch, 0.0)
    tall = person.body.stature * np.cos(pitch) + 0.12 * np.sin(pitch)
    view = View(
        yaw=frame.yaw,
        pitch=pitch,
        scale=height * frame.fill / float(tall),
        centre_x=frame.centre * width,
        floor_y=frame.floor * height,
    )
    figure = start_figure(person, draw_gait(pose_rng), view, height, width)
    paint_person(figure)
    relief = draw_relief(figure.canvas, figure.palette, pose_rng)
    light = light_infrared if infrared else light_visible
    scene.reshape(-1, scene.shape[2])[relief.pixels] = light(figure.palette, relief, light_rng)
    return figure.canvas.slot > 0


def _shrink(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    small = Image.fromarray(mask.astype(np.uint8) * 255).resize(
        (size[1], size[0]), Image.Resampling.BOX
    )
    result: NDArray[np.bool_] = np.asarray(small) > 127
    return result
