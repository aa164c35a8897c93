"""The index on disk: what is written, and damaged files. What a folder has in common with Milvus tests test_stores."""

from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import pytest

from index import store
from index.__main__ import main
from index.identity_map import to_identities
from index.recognition import SHIPPED
from index.schema import CorruptArtifactError, ForeignArtifactError, InvalidValueError
from index.store import current_version, open_index, rollback, write_index
from tests.scenes import standing_frame

CATEGORIES = ("cup", "chair", "shoe")


def unit_vectors(n, d=16, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def some_frames(n):
    base = standing_frame()
    return [
        dataclasses.replace(base, id=f"v/{i}", category=CATEGORIES[i % 3], object_id=f"object-{i % 7}")
        for i in range(n)
    ]


def bare_encoder(folder):
    """A folder that is copied into an index as an encoder's is; nothing opens it as one."""
    folder.mkdir()
    (folder / "encoder.json").write_text("{}")
    return folder


@pytest.fixture
def encoder(tmp_path):
    return bare_encoder(tmp_path / "encoder")


def write(root, encoder, n=20, seed=0, **options):
    thumbnails = [f"jpeg {seed} {i}".encode() for i in range(n)]
    return write_index(root, unit_vectors(n, seed=seed), some_frames(n), thumbnails, encoder, "digest", **options)


def test_what_is_written_is_what_is_opened(tmp_path, encoder):
    name = write(tmp_path / "index", encoder, recognition=SHIPPED)
    opened = open_index(tmp_path / "index")
    assert opened.version == name == current_version(tmp_path / "index")
    assert np.array_equal(opened.vectors, unit_vectors(20))
    assert (opened.encoder_digest, tuple(opened.recognition)) == ("digest", SHIPPED)
    assert opened.identities is None
    assert opened.thumbnail(7) == b"jpeg 0 7"
    assert (opened.encoder_path / "encoder.json").read_text() == "{}"
    frame, original = opened.frame(opened.row_of("v/7")), some_frames(20)[7]
    assert (frame.id, frame.category, frame.object_id) == (original.id, original.category, original.object_id)
    assert np.array_equal(frame.box.corners, original.box.corners)
    assert opened.categories == tuple(sorted(CATEGORIES))


def test_identities_are_those_of_the_encoders_map(tmp_path, encoder):
    identity_map = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    np.save(encoder / "identity.npy", identity_map)
    write(tmp_path / "index", encoder)
    opened = open_index(tmp_path / "index")
    assert np.array_equal(opened.identity_map, identity_map)
    assert np.array_equal(opened.identities, to_identities(identity_map, unit_vectors(20)))
    np.save(encoder / "identity.npy", identity_map.astype(np.float64))
    with pytest.raises(CorruptArtifactError, match=r"identity\.npy"):
        write(tmp_path / "index", encoder)


def test_a_failed_build_leaves_the_old_version_and_no_litter(tmp_path, encoder):
    root = tmp_path / "index"
    name = write(root, encoder)
    with pytest.raises(ValueError, match="argument"):
        write_index(root, unit_vectors(3), some_frames(3), [b"only one"], encoder, "digest")
    with pytest.raises(InvalidValueError, match="ids that differ"):
        write_index(root, unit_vectors(2), [*some_frames(1)] * 2, [b""] * 2, encoder, "digest")
    assert current_version(root) == name
    assert [p.name for p in (root / "versions").iterdir()] == [name]


def test_a_version_is_on_the_disk_before_it_is_current(tmp_path, encoder, monkeypatch):
    """A name is as durable as the folder that it is in: files that are synced may still be in none after a crash."""
    root, sync, before = tmp_path / "index", os.fsync, set()

    def noted(descriptor):
        sync(descriptor)
        if not (root / "CURRENT").exists():
            before.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", noted)
    version = root / "versions" / write(root, encoder)
    assert {path.stat().st_ino for path in (version.parent, version, *version.rglob("*"))} <= before


@pytest.mark.parametrize("file", ["vectors.npy", "frames.parquet", "thumbnails.tar", "encoder/encoder.json"])
def test_truncated_altered_and_missing_files_are_named(tmp_path, encoder, file):
    root = tmp_path / "index"
    path = root / "versions" / write(root, encoder) / file
    content = path.read_bytes()
    for bad, reason in ((content[:-1], "bytes"), (content[:-1] + bytes([content[-1] ^ 1]), "altered")):
        path.write_bytes(bad)
        with pytest.raises(CorruptArtifactError, match=reason) as caught:
            open_index(root)
        assert caught.value.path == path
    path.unlink()
    with pytest.raises(CorruptArtifactError, match="missing"):
        open_index(root)


def test_foreign_manifests_are_named(tmp_path, encoder):
    root = tmp_path / "index"
    manifest = root / "versions" / write(root, encoder) / "manifest.json"
    manifest.write_text(json.dumps({"format": "somebody-else-7"}))
    with pytest.raises(ForeignArtifactError, match="somebody-else-7"):
        open_index(root)
    manifest.write_text("{")
    with pytest.raises(CorruptArtifactError, match="not JSON"):
        open_index(root)


def test_current_must_name_a_version(tmp_path, encoder):
    with pytest.raises(CorruptArtifactError, match="no index has been built"):
        current_version(tmp_path)
    root = tmp_path / "index"
    write(root, encoder)
    for bad in ("", "../elsewhere", "20000101T000000Z"):
        (root / "CURRENT").write_text(bad)
        with pytest.raises(CorruptArtifactError, match="does not exist"):
            current_version(root)


def test_commands(tmp_path, encoder, capsys):
    root = tmp_path / "index"
    first, second = (write(root, encoder, seed=seed) for seed in range(2))
    assert main(["info", "--index", str(root)]) == 0
    assert f"* {second}" in capsys.readouterr().out
    write(root, encoder, recognition=SHIPPED)
    assert main(["info", "--index", str(root)]) == 0
    assert f"from 10 views on at p >= {SHIPPED[-1].threshold:.2f}, as shipped" in capsys.readouterr().out
    rollback(root)
    assert main(["verify", "--index", str(root)]) == 0
    assert main(["rollback", "--index", str(root)]) == 0
    assert current_version(root) == first
    (root / "versions" / second / "vectors.npy").write_bytes(b"")
    assert main(["verify", "--index", str(root)]) == 1
    assert "vectors.npy" in capsys.readouterr().err


def test_a_rollback_goes_back_from_what_is_current_once_it_is_its_turn(tmp_path, encoder, monkeypatch):
    root = tmp_path / "index"
    _, second = (write(root, encoder, seed=seed) for seed in range(2))
    alone = store._alone

    def after_a_build(folder):
        monkeypatch.setattr(store, "_alone", alone)
        write(root, encoder, seed=2)
        return alone(folder)

    monkeypatch.setattr(store, "_alone", after_a_build)
    assert rollback(root) == current_version(root) == second


def test_a_command_is_told_its_index_by_place_or_by_name(tmp_path, encoder, capsys):
    root = str(tmp_path / "index")
    write(tmp_path / "index", encoder)
    for arguments in (["info", root], ["info", "--index", root]):
        assert main(arguments) == 0
    asked = ["search", "--frame", "v/0", "-k", "1"]
    for arguments in ([*asked, root], [*asked[:3], root, *asked[3:]], [*asked, "--index", root]):
        assert main(arguments) == 1  # it is no encoder that this index has
        assert f"{root}/versions" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["info", root, "--index", "elsewhere"])
