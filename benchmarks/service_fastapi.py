"""A bare FastAPI handler around the same encoder: what one writes first. No batching, no gallery.

python -m benchmarks.service_fastapi MODEL PORT
"""

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, UploadFile

from model.encoder import Encoder
from model.preprocessing import read_image


def application(encoder: Encoder) -> FastAPI:
    """One handler: read, decode, encode, answer."""
    app = FastAPI()

    @app.post("/query")
    def query(file: UploadFile) -> dict[str, int]:
        image = encoder.prepare(read_image(file.file.read()))
        embedding = encoder.encode(image[None]).embedding[0]
        return {"dimension": len(embedding)}

    return app


if __name__ == "__main__":
    with Encoder.open(Path(sys.argv[1])) as encoder:
        uvicorn.run(application(encoder), port=int(sys.argv[2]), access_log=False)
