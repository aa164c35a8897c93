"""What one would write instead of ``service/`` in an afternoon: the same encoder in eager PyTorch, the same index.

    python -m benchmarks.naive_service --index runs/demo/index --port 8001                FastAPI
    python -m benchmarks.naive_service --index runs/demo/index --port 8001 --litserve     LitServe, batches of up to 8

Both decode the picture, crop, embed, search with FAISS and carry the nearest frame's box by the paper's transfer, which
is less work than the fit that the service does. Only for ``benchmarks.service_load``: they check nothing. LitServe is
no dependency of the project: ``pip install litserve``.
"""

import argparse
import json
from pathlib import Path
from typing import Annotated, Any

import cv2
import faiss
import litserve
import numpy as np
import uvicorn
from fastapi import FastAPI, Form, Request, UploadFile
from numpy.typing import NDArray

from index.encoder import open_encoder
from index.schema import Camera, Frame, Plane, View
from index.store import open_index
from index.transfer import transfer_box

K = 10


class Model:
    """Encoder, index and frames, all in memory."""

    def __init__(self, root: Path) -> None:
        index = open_index(root)
        self.encoder = open_encoder(index.encoder_path, "torch-cpu")
        self.flat = faiss.IndexFlatIP(index.dimension)
        self.flat.add(np.array(index.vectors))
        self.frame = index.frame

    def read(self, jpeg: bytes, camera: str, plane: str, rect: str) -> tuple[NDArray[np.uint8], View]:
        """The crop, and what it is a view of."""
        pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert pixels is not None
        height, width = pixels.shape[:2]
        view = View(
            Camera(**json.loads(camera), width=width, height=height),
            Plane.from_point(**json.loads(plane)),
            json.loads(rect),
        )
        return self.encoder.crop(pixels.astype(np.uint8, copy=False), view.rect), view

    def nearest(self, crops: NDArray[np.uint8]) -> list[list[tuple[float, Frame]]]:
        """The K nearest frames of each crop."""
        similarities, rows = self.flat.search(self.encoder.embed(crops), K)
        return [
            [(float(s), self.frame(int(r))) for s, r in zip(*pair, strict=True)]
            for pair in zip(similarities, rows, strict=True)
        ]


def answer(neighbours: list[tuple[float, Frame]], view: View) -> dict[str, Any]:
    """The nearest frame's box, and the neighbours."""
    box = transfer_box(neighbours[0][1], view)
    return {
        "box": {"center": box.center.tolist(), "size": box.size.tolist(), "rotation": box.rotation.tolist()},
        "neighbors": [{"frame": f.id, "category": f.category, "similarity": s} for s, f in neighbours],
    }


def fastapi_app(root: Path) -> FastAPI:
    """One route, in FastAPI's own threads."""
    app, model = FastAPI(), Model(root)

    @app.post("/pose")
    def pose(
        image: UploadFile, camera: Annotated[str, Form()], plane: Annotated[str, Form()], rect: Annotated[str, Form()]
    ) -> dict[str, Any]:
        crop, view = model.read(image.file.read(), camera, plane, rect)
        return answer(model.nearest(crop[None])[0], view)

    return app


class LitPose(litserve.LitAPI):  # type: ignore[misc]  # it has no types
    """The same as LitServe has it: one worker process, requests batched by its loop."""

    def __init__(self, root: Path) -> None:
        super().__init__(max_batch_size=8, batch_timeout=0.005, api_path="/pose")
        self.root = root

    def setup(self, device: str) -> None:
        """Opens the index, in the worker's process."""
        self.model = Model(self.root)

    def decode_request(self, request: Request) -> tuple[NDArray[np.uint8], View]:
        """A form to a crop."""
        jpeg = request["image"].file.read()
        return self.model.read(jpeg, request["camera"], request["plane"], request["rect"])

    def batch(self, inputs: list[tuple[NDArray[np.uint8], View]]) -> tuple[NDArray[np.uint8], list[View]]:
        """Crops in one array."""
        return np.stack([crop for crop, _ in inputs]), [view for _, view in inputs]

    def predict(self, batch: tuple[NDArray[np.uint8], list[View]]) -> list[dict[str, Any]]:
        """The answers of a batch."""
        crops, views = batch
        return [answer(found, view) for found, view in zip(self.model.nearest(crops), views, strict=True)]

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """They are a list already."""
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """They are JSON already."""
        return output


def main() -> None:
    """Serves until it is told to stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, default=Path("runs/demo/index"))
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--litserve", action="store_true")
    options = parser.parse_args()
    if options.litserve:
        server = litserve.LitServer(LitPose(options.index), accelerator="cpu")
        server.run(port=options.port, host="127.0.0.1", log_level="warning", generate_client_file=False)
    else:
        uvicorn.run(fastapi_app(options.index), port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
