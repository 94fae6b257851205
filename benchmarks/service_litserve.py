"""The same encoder behind LitServe and its batching. No gallery. Runs where litserve is installed.

python -m benchmarks.service_litserve MODEL PORT MAX_BATCH BATCH_TIMEOUT_S
"""

import sys
from pathlib import Path
from typing import Any

import litserve
import numpy as np
from fastapi import Request
from numpy.typing import NDArray

from model.encoder import Encoder
from model.preprocessing import read_image


class EncoderApi(litserve.LitAPI):  # type: ignore[misc]
    """Decode each request, encode them together."""

    def __init__(self, model: Path, **options: Any) -> None:
        super().__init__(**options)
        self._model = model

    def setup(self, device: str) -> None:
        self._encoder = Encoder.open(self._model)

    def decode_request(self, request: Request) -> NDArray[np.float32]:
        form: Any = request  # LitServe has read it by now
        return self._encoder.prepare(read_image(form["file"].file.read()))

    def batch(self, inputs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        return np.stack(inputs)

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._encoder.encode(inputs).embedding

    def unbatch(self, output: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        return list(output)

    def encode_response(self, output: NDArray[np.float32]) -> dict[str, int]:
        return {"dimension": len(output)}


if __name__ == "__main__":
    model, port, max_batch, batch_timeout_s = sys.argv[1:]
    api = EncoderApi(
        Path(model),
        max_batch_size=int(max_batch),
        batch_timeout=float(batch_timeout_s),
        api_path="/query",
    )
    server = litserve.LitServer(api, accelerator="cpu", devices=1, timeout=120)
    server.run(
        host="127.0.0.1",
        port=int(port),
        generate_client_file=False,
        num_api_servers=1,
        access_log=False,
    )
