"""A contact sheet: rows are people, columns cameras; for eyes, not for training."""

from PIL import Image

from training.synthetic.cameras import SYSU_CAMERAS
from training.synthetic.people import sample_person
from training.synthetic.render import crop_rng, render_crop

CELL = (200, 88)
"""Rows and columns of one crop on the sheet."""


def draw_contact_sheet(persons: int, seed: int, images_per_camera: int = 2) -> Image.Image:
    """Render the first `persons` people, `images_per_camera` crops a camera, side by side."""
    tall, wide = CELL
    columns = len(SYSU_CAMERAS) * images_per_camera
    sheet = Image.new("RGB", (columns * wide, persons * tall))
    for row in range(persons):
        person = sample_person(seed, row)
        for column in range(columns):
            camera = SYSU_CAMERAS[column // images_per_camera]
            rng = crop_rng(seed, row, camera.number, column % images_per_camera)
            crop = Image.fromarray(render_crop(person, camera, rng).image)
            sheet.paste(crop.resize((wide, tall)), (column * wide, row * tall))
    return sheet
