"""Kinds of search: brute force is what each is held against; what is stored, carried over, and refused."""

from __future__ import annotations

import json

import faiss
import numpy as np
import pytest

from index import kinds, recall, tune
from index.__main__ import main
from index.gpu import engine_on, gpu_count
from index.growing import GrowingIndex
from index.joined import JoinedIndex
from index.kinds import KINDS, Effort, Flat, Plan, Reranked, inner_index, train_candidates
from index.nearest import merged, nearest_stored
from index.recall import SearchConfig, built, choose
from index.schema import CorruptArtifactError, InvalidValueError
from index.search import FrameIndex
from index.store import open_index, rollback, write_index
from index.truth import Estimate, OwnTruth, Truth
from index.truth import recall as share
from index.vectors import Previous, open_vectors, write_vectors
from tests.test_store import bare_encoder, some_frames, unit_vectors

APPROXIMATE = KINDS[1:]
EVERYTHING = Effort(probes=512, depth=64)  # of a few hundred vectors: all lists, all candidates


def clustered(n=600, d=32, seed=0, views=12):
    """Objects, of each some views."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(-(-n // views), d)), views, axis=0)[:n]
    vectors = centres + 0.5 * rng.normal(size=(n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def config(kind="auto", **changed):
    return SearchConfig(kind, **({"recall": 0.95, "queries": 60, "flat_up_to": 100} | changed))


@pytest.fixture
def encoder(tmp_path):
    return bare_encoder(tmp_path / "encoder")


def write(root, encoder, vectors, kind, **options):
    frames = some_frames(len(vectors))
    return write_index(
        root, vectors, frames, [b"jpeg"] * len(vectors), encoder, "digest", search=config(kind), **options
    )


def brute_force(vectors, query, k, wanted):
    products = np.where(wanted, vectors.astype(np.float32) @ query, -np.inf)
    return np.sort(products)[::-1][:k]


@pytest.fixture(scope="module", params=APPROXIMATE)
def engine(request):
    vectors = clustered().astype(np.float16)
    return Reranked(built(request.param, vectors, config(request.param, reduce=16)), vectors, EVERYTHING)


@pytest.mark.parametrize("k", [1, 10, 100])
@pytest.mark.parametrize("share", [None, 0.5, 0.02, 0.0])
def test_with_all_effort_every_kind_is_brute_force(engine, k, share, monkeypatch):
    monkeypatch.setattr(kinds, "_EXACT_ROWS", 0)  # through the candidates, however few rows are wanted
    queries = clustered(5, seed=1)
    wanted = None if share is None else np.random.default_rng(0).random(len(engine.vectors)) < share
    similarities, rows = engine.search(queries, k, wanted)
    allowed = np.ones(len(engine.vectors), bool) if wanted is None else wanted
    for query, scores, found in zip(queries, similarities, rows, strict=True):
        count = min(k, int(allowed.sum()))
        assert (found[:count] >= 0).all()
        assert (found[count:] == -1).all()
        assert len(set(found[:count].tolist())) == count
        assert allowed[found[:count]].all()
        assert scores[:count] == pytest.approx(brute_force(engine.vectors, query, k, allowed)[:count], abs=1e-6)


def test_a_filter_that_the_candidates_miss_is_searched_exactly(engine, monkeypatch):
    monkeypatch.setattr(kinds, "_EXACT_ROWS", 0)
    little = Reranked(engine.candidates, engine.vectors, Effort(1, 1))
    query = engine.vectors[:1].astype(np.float32)
    farthest = np.argsort(engine.vectors.astype(np.float32) @ query[0])[:20]
    wanted = np.isin(np.arange(len(engine.vectors)), farthest)
    similarities, rows = little.search(query, 20, wanted)
    assert set(rows[0].tolist()) == set(farthest.tolist())
    assert similarities[0] == pytest.approx(brute_force(engine.vectors, query[0], 20, wanted), abs=1e-6)


def test_less_effort_is_a_subset_ranked_exactly(engine):
    queries = clustered(20, seed=2)
    similarities, rows = Reranked(engine.candidates, engine.vectors, Effort(1, 2)).search(queries, 10)
    assert (np.diff(similarities, axis=1) <= 0).all()
    expected = np.einsum("qd,qkd->qk", queries, engine.vectors[rows].astype(np.float32))
    assert similarities == pytest.approx(expected, abs=1e-6)


def test_float16_moves_a_similarity_by_its_rounding_at_most():
    for d in (2, 32, 2048):
        vectors, queries = unit_vectors(200, d), unit_vectors(20, d, seed=1)
        exact = queries.astype(np.float64) @ vectors.T.astype(np.float64)
        off = np.abs(queries @ vectors.astype(np.float16).astype(np.float32).T - exact)
        assert off.max() <= 2**-11 + d**0.5 * 2**-25 + 1e-6  # rounding, what is subnormal, sums in float32
        assert off.mean() <= 2**-11 / d**0.5 + 1e-7


@pytest.mark.parametrize("share", [None, 0.3])
def test_float16_is_searched_in_blocks_as_one(share, monkeypatch):
    monkeypatch.setattr("index.nearest._BLOCK_BYTES", 7 * 4 * 32)
    vectors, queries = clustered(100).astype(np.float16), clustered(4, seed=3)
    wanted = None if share is None else np.random.default_rng(1).random(100) < share
    blocks = nearest_stored(queries, vectors, 40, wanted)
    whole = nearest_stored(queries, vectors.astype(np.float32), 40, wanted)
    assert np.array_equal(blocks[1], whole[1])
    there = whole[1] >= 0
    assert blocks[0][there] == pytest.approx(whole[0][there], abs=1e-6)


def test_merged_keeps_the_first_of_equals():
    a = np.array([[1.0, 0.5]], np.float32), np.array([[7, 8]])
    b = np.array([[1.0, 0.7]], np.float32), np.array([[3, 4]])
    assert merged(3, a, b)[1].tolist() == [[7, 3, 4]]


def test_truth_leaves_out_the_querys_own_row():
    vectors = clustered(80)
    own = OwnTruth.of(vectors, config(queries=30))
    products = vectors @ vectors.T
    np.fill_diagonal(products, -np.inf)
    assert np.array_equal(own.truth.rows, np.argsort(-products[own.own], axis=1)[:, :10])
    assert own.recalled == "other rows"


def test_truth_leaves_out_the_querys_own_object():
    vectors, objects = clustered(80), np.arange(80) // 12
    own = OwnTruth.of(vectors, config(queries=30), objects)
    products = np.where(objects[:, None] == objects, -np.inf, vectors @ vectors.T)
    assert np.array_equal(own.truth.rows, np.argsort(-products[own.own], axis=1)[:, :10])
    assert own.recalled == "other objects"


def test_truth_is_short_where_an_object_is_nearly_all_there_is():
    vectors, objects = clustered(40), np.r_[np.zeros(37, int), 1, 1, 2]
    own = OwnTruth.of(vectors, config(queries=40), objects)
    assert (own.truth.rows >= 0).sum(axis=1).tolist() == [3] * 37 + [10, 10, 10]
    assert share(np.where(own.truth.rows < 0, 5, own.truth.rows), own.truth.rows) == 1.0


def test_equal_vectors_stand_for_one_another():
    vectors = np.repeat(clustered(100), 6, axis=0).astype(np.float16)
    own = OwnTruth.of(vectors, config())
    index = built("ivf-sq", vectors, config("ivf-sq"))
    assert own.estimate(Reranked(index, vectors, EVERYTHING)) == Estimate(1.0, 0.0)
    assert own.estimate(Reranked(index, vectors, Effort(1, 1))).recall < 1.0


def test_recall_is_the_share_that_was_found():
    assert share(np.array([[4, 1, 9, -1]]), np.array([[1, 2, 3, 4]])) == 0.5


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_what_the_plan_promises_is_what_the_opened_engine_finds(tmp_path, kind):
    vectors = clustered(1500)
    plan = write_vectors(tmp_path, "vectors", vectors, config(kind))
    stored, engine = open_vectors(tmp_path, "vectors", plan)
    assert (plan.kind, stored.dtype, plan.queries) == (kind, np.float16, 60)
    assert np.array_equal(stored, vectors.astype(np.float16))
    found = OwnTruth.of(stored, config(kind)).estimate(engine)
    assert found.recall == pytest.approx(plan.recall, abs=1e-9)
    assert found.least >= plan.target == 0.95
    assert Plan.from_manifest(json.loads(json.dumps(plan.to_manifest())), 32) == plan


def test_candidates_that_cannot_be_written_are_an_error_of_the_system(tmp_path):
    (tmp_path / "vectors.faiss").mkdir()
    with pytest.raises(OSError, match=r"vectors\.faiss"):
        write_vectors(tmp_path, "vectors", clustered(300), config("ivf-sq"))


def test_auto_is_flat_while_small_and_ivf_above(tmp_path):
    assert write_vectors(tmp_path, "few", clustered(100), config()).kind == "flat"
    assert not (tmp_path / "few.faiss").exists()
    assert write_vectors(tmp_path, "many", clustered(1500), config()).kind == "ivf-sq"


def test_auto_falls_back_to_flat_and_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(recall, "best_plan", lambda *given: (None, 0.5))
    plan = write_vectors(tmp_path, "vectors", clustered(300), config())
    stored, _ = open_vectors(tmp_path, "vectors", plan)
    assert (plan.kind, stored.dtype) == ("flat", np.float32)
    assert "0.500 at best" in caplog.text
    assert not (tmp_path / "vectors.faiss").exists()


def test_an_estimate_is_held_to_be_a_standard_error_less():
    shares = np.array([1.0, 1.0, 0.5, 1.0])
    assert Estimate.of(shares) == Estimate(0.875, pytest.approx(np.std(shares) / 2))
    assert Estimate.of(shares).least == pytest.approx(0.875 - np.sqrt(3) / 16)
    assert Estimate.of(np.array([])).least == 1.0


def test_a_recall_that_is_reached_by_chance_does_not_count():
    point = recall.Point
    lucky, sure = point(Effort(1, 1), 0.981, 0.1, 0.004), point(Effort(8, 1), 0.985, 0.5, 0.004)
    assert recall.fastest([lucky, sure], 0.98) is sure
    assert recall.fastest([lucky], 0.98) is None


@pytest.mark.parametrize(("k", "deepest"), [(10, 256), (40, 64), (200, 64)])
def test_more_candidates_are_tried_as_long_as_few_are_ranked(k, deepest):
    vectors = unit_vectors(4000, 64)  # without any structure, in two dimensions
    engine = Reranked(recall.built("ivf-sq", vectors, config("ivf-sq", reduce=2)), vectors, Effort(1, 1))
    points = recall.curve(engine, OwnTruth.of(vectors, config("ivf-sq", k=k, queries=20)), 1.0)
    assert max(point.effort.depth for point in points) <= deepest
    if k == 10:
        assert points[-1].effort.depth > 64


def test_a_kind_that_cannot_reach_the_recall_is_refused():
    vectors = unit_vectors(4000, 64)  # without any structure, in two dimensions, and a third of them are looked at
    with pytest.raises(InvalidValueError, match="at most 0"):
        choose(vectors, config("ivf-sq", recall=1.0, reduce=2, k=5))


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"kind": "annoy"}, "kind"),
        ({"recall": 0.0}, "recall"),
        ({"recall": 1.1}, "recall"),
        ({"reduce": 0}, "reduce"),
        ({"k": 0}, "k"),
        ({"queries": 0}, "queries"),
    ],
)
def test_config_refuses(given, field):
    with pytest.raises(InvalidValueError) as caught:
        SearchConfig(**given)
    assert caught.value.field == field


def test_quantising_needs_as_many_vectors_as_a_byte_has_values():
    with pytest.raises(InvalidValueError, match="at least 256 vectors, not 200"):
        train_candidates("ivf-pq", clustered(200), 16, 0)


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_an_index_of_any_kind_is_searched_as_a_flat_one(tmp_path, encoder, kind):
    vectors = clustered(700)
    np.save(encoder / "identity.npy", np.random.default_rng(0).normal(size=(8, 32)).astype(np.float32))
    write(tmp_path / "index", encoder, vectors, kind)
    opened, flat = open_index(tmp_path / "index"), FrameIndex.from_frames(vectors, some_frames(700))
    assert opened.plan.kind == kind
    assert opened.by_identity.dimension == 8
    for category, excluded in ((None, None), ("cup", None), (None, "object-3"), ("chair", "object-3")):
        found = opened.search(vectors[:40], 10, category, excluded)[1]
        truth = flat.search(vectors[:40], 10, category, excluded)[1]
        assert share(found, truth) >= 0.9
        frames = [opened.frame(int(row)) for row in found.ravel()]
        assert {f.category for f in frames} <= ({category} if category else {"cup", "chair", "shoe"})
        assert excluded not in {f.object_id for f in frames}
    assert opened.vector(3) == pytest.approx(vectors[3], abs=2**-11)
    assert opened.vector(3).dtype == np.float32


def test_a_version_of_another_kind_can_be_rolled_back_to(tmp_path, encoder):
    root, vectors = tmp_path / "index", clustered(400)
    names = [write(root, encoder, vectors, kind) for kind in ("flat", "ivf-sq", "hnsw-sq")]
    opened = [open_index(root)]
    for name in reversed(names[:-1]):
        assert rollback(root) == name
        opened.append(open_index(root))
    assert [index.plan.kind for index in opened] == ["hnsw-sq", "ivf-sq", "flat"]
    for index in opened:
        assert index.search(vectors[:5], 1)[1][:, 0].tolist() == [0, 1, 2, 3, 4]


def test_a_version_from_before_there_were_kinds_is_flat(tmp_path, encoder):
    root, vectors = tmp_path / "index", clustered(50)
    name = write(root, encoder, vectors, "flat")
    file = root / "versions" / name / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["search"]
    file.write_text(json.dumps(manifest))
    assert open_index(root).plan == Plan.flat(32)


@pytest.mark.parametrize("name", ["vectors.faiss", "vectors.npy"])
def test_a_flipped_bit_is_found(tmp_path, encoder, name):
    root = tmp_path / "index"
    path = root / "versions" / write(root, encoder, clustered(400), "ivf-sq") / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptArtifactError, match=name):
        open_index(root)


def test_candidates_of_other_vectors_are_found(tmp_path):
    plan = write_vectors(tmp_path, "vectors", clustered(400), config("ivf-sq"))
    np.save(tmp_path / "vectors.npy", clustered(399).astype(np.float16))
    with pytest.raises(CorruptArtifactError, match=r"vectors\.faiss: has 400"):
        open_vectors(tmp_path, "vectors", plan)
    (tmp_path / "vectors.faiss").write_bytes(b"something else")
    with pytest.raises(CorruptArtifactError, match="FAISS cannot read it"):
        open_vectors(tmp_path, "vectors", plan)


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_what_is_enrolled_is_found_beside_any_kind(tmp_path, encoder, kind):
    vectors = clustered(400)
    write(tmp_path / "index", encoder, vectors[:390], kind)
    enrolled = GrowingIndex(32)
    enrolled.append([f for f in some_frames(400) if int(f.id[2:]) >= 390], vectors[390:])
    joined = JoinedIndex(open_index(tmp_path / "index"), enrolled.view())
    similarities, rows = joined.search(vectors[385:], 3)
    assert rows[:, 0].tolist() == list(range(385, 400))
    assert similarities[:, 0] == pytest.approx(np.ones(15), abs=2**-11)
    assert (joined.search(vectors[385:], 3, exclude_object="object-1")[1] % 7 != 1).all()


CHANGES = {
    "added": np.r_[np.arange(900), np.full(100, -1)],
    "removed": np.delete(np.arange(900), np.s_[100:300]),
    "both, in another order": np.r_[np.full(50, -1), np.arange(900)[::-1][:700], np.full(70, -1)],
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", APPROXIMATE)
def test_a_version_takes_over_the_candidates_of_the_one_before(tmp_path, kind, change, monkeypatch):
    source, before = CHANGES[change], clustered(900)
    (tmp_path / "old").mkdir(), (tmp_path / "new").mkdir()
    write_vectors(tmp_path / "old", "vectors", before, config(kind))
    after = np.where(source[:, None] >= 0, before[source], clustered(len(source), seed=5))
    trained = []
    monkeypatch.setattr(recall, "train_candidates", lambda *given: trained.append(0) or train_candidates(*given))
    plan = write_vectors(tmp_path / "new", "vectors", after, config(kind), Previous(tmp_path / "old", source))
    assert bool(trained) == (kind == "hnsw-sq" and change != "added")  # a graph only grows
    stored, engine = open_vectors(tmp_path / "new", "vectors", plan)
    assert OwnTruth.of(stored, config(kind)).estimate(engine).recall == pytest.approx(plan.recall)
    assert plan.recall >= 0.95
    everything = Reranked(engine.candidates, after, EVERYTHING)
    assert np.array_equal(everything.search(after[::7], 1)[1][:, 0], np.arange(len(after))[::7])


def test_lists_that_no_longer_fit_are_built_again(tmp_path):
    (tmp_path / "old").mkdir(), (tmp_path / "new").mkdir()
    write_vectors(tmp_path / "old", "vectors", clustered(300), config("ivf-sq"))
    source = np.r_[np.arange(300), np.full(2700, -1)]
    write_vectors(tmp_path / "new", "vectors", clustered(3000), config("ivf-sq"), Previous(tmp_path / "old", source))
    index = faiss.read_index(str(tmp_path / "new" / "vectors.faiss"))
    assert kinds.inner_index(index).nlist == kinds.list_count(3000)


def test_rows_are_taken_over_once(tmp_path):
    with pytest.raises(InvalidValueError, match="rows that differ"):
        Previous(tmp_path, np.array([0, 1, 1]))


def test_tune_prints_draws_and_picks(tmp_path, capsys):
    file = tmp_path / "vectors.npy"
    np.save(file, clustered(1000))
    picture, out = tmp_path / "curve.png", tmp_path / "curve.json"
    options = ["--recall", "0.9", "--reduce", "16", "--queries", "40", "--picture", str(picture), "--out", str(out)]
    assert main(["tune", str(file), *options]) == 0
    printed = capsys.readouterr().out
    assert all(kind in printed for kind in KINDS)
    assert printed.splitlines()[-1] == "--kind flat"  # a thousand are few
    assert picture.read_bytes().startswith(b"\x89PNG")
    report = json.loads(out.read_text())
    assert [k["kind"] for k in report["kinds"]] == list(KINDS)
    assert all(0 <= p["recall"] <= 1 for k in report["kinds"] for p in k["points"])


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (3 * clustered(50), "unit vectors"),
        (clustered(50).astype(np.float64), "float32 or float16"),
        (clustered(50)[0], "float32 or float16"),
        (np.full((5, 4), np.nan, np.float32), "unit vectors"),
    ],
)
def test_tune_refuses(tmp_path, capsys, vectors, message):
    np.save(tmp_path / "v.npy", vectors)
    assert main(["tune", str(tmp_path / "v.npy")]) == 1
    assert message in capsys.readouterr().err


def test_picked_is_the_fastest_that_reaches_the_recall():
    point = recall.Point
    measured = [
        tune.Measured("ivf-sq", 16, 10, (point(Effort(1, 1), 0.9, 0.1), point(Effort(8, 1), 0.99, 0.5))),
        tune.Measured("ivf-pq", 16, 5, (point(Effort(4, 2), 0.985, 0.4),)),
    ]
    assert tune.picked(measured, SearchConfig(recall=0.98), 10**6).kind == "ivf-pq"
    assert tune.picked(measured, SearchConfig(recall=0.99), 10**6).kind == "ivf-sq"
    with pytest.raises(InvalidValueError, match=r"at most 0\.990"):
        tune.picked(measured, SearchConfig(recall=0.999), 10**6)


def test_info_tells_how_an_index_is_searched(tmp_path, encoder, capsys):
    write(tmp_path / "index", encoder, clustered(400), "ivf-sq")
    assert main(["info", "--index", str(tmp_path / "index")]) == 0
    assert "search:          ivf-sq, 32 dimensions" in (printed := capsys.readouterr().out)
    assert "MB that stay on disk" in printed


def test_without_a_gpu_the_cpu_searches_and_it_is_said(caplog):
    if gpu_count():
        pytest.skip("there is a GPU")
    flat = Flat(clustered(20))
    assert engine_on("auto", flat) is flat
    assert engine_on("cpu", flat) is flat
    assert not caplog.records
    assert engine_on("cuda", flat) is flat
    assert "FAISS sees no GPU" in caplog.text


def test_a_graph_that_no_gpu_can_walk_stays_on_the_cpu_and_it_is_said(monkeypatch, caplog):
    monkeypatch.setattr("index.gpu.gpu_count", lambda: 1)
    monkeypatch.delattr(faiss, "GpuIndexCagra", raising=False)  # as in the wheel on PyPI
    vectors = clustered(300).astype(np.float16)
    graph = Reranked(built("hnsw-sq", vectors, config("hnsw-sq")), vectors, EVERYTHING)
    assert engine_on("auto", graph) is graph
    assert "hnsw-sq is searched on the CPU" in caplog.text


@pytest.mark.parametrize(
    ("reduce", "of_vectors", "taken"),
    [(None, 512, 256), (None, 100, 96), (200, 512, 192), (20, 32, 16), (3, 32, 4), (512, 2048, 384), (8, 32, 8)],
)
def test_ivf_pq_is_built_of_as_many_bytes_as_a_gpu_can_search(reduce, of_vectors, taken):
    assert config("ivf-pq", reduce=reduce).dimension("ivf-pq", of_vectors) == taken
    assert config("ivf-sq", reduce=reduce).dimension("ivf-sq", of_vectors) == min(reduce or 256, of_vectors)


def test_a_dimension_that_is_not_what_was_asked_for_is_said_at_the_build(caplog):
    vectors = clustered(300).astype(np.float16)
    built("ivf-pq", vectors, config("ivf-pq", reduce=16))
    assert not caplog.records
    plan, _ = choose(vectors, config("ivf-pq", reduce=20, recall=0.1))
    assert (plan.kind, plan.dimension) == ("ivf-pq", 16)
    assert len(caplog.records) == 1
    assert "ivf-pq: 16 dimensions, not 20: a byte for 4 of them, and GPUs search 1, 2, 3, 4, 8" in caplog.text


def test_ivf_pq_that_no_gpu_can_search_stays_on_the_cpu_and_it_is_said(monkeypatch, caplog):
    monkeypatch.setattr("index.gpu.gpu_count", lambda: 1)
    vectors = clustered(300).astype(np.float16)
    before = train_candidates("ivf-pq", vectors, 20, 0)  # as it was built before
    older = Reranked(before, vectors, EVERYTHING)
    assert engine_on("auto", older) is older
    assert "no ivf-pq of 5 bytes a vector: it is searched on the CPU" in caplog.text


def test_a_search_deeper_than_a_gpu_finds_takes_what_it_finds(monkeypatch, caplog):
    vectors = clustered(5000).astype(np.float16)
    cpu = Reranked(built("ivf-sq", vectors, config("ivf-sq", reduce=16)), vectors, Effort(64, 256))
    asked = []

    class Candidates:  # as a GPU's: the CPU's own, as far as it may
        def search(self, queries, k):
            asked.append(k)
            return cpu.candidates.search(queries, k)

    monkeypatch.setattr("index.gpu.gpu_count", lambda: 1)
    monkeypatch.setattr("index.gpu._moved", lambda engine: (Candidates(), engine, engine.effort.depth))
    moved = engine_on("auto", cpu)
    assert "beyond 8 neighbours a GPU finds 2048 candidates, not 256 for each" in caplog.text
    inner_index(cpu.candidates).nprobe = 64
    queries = clustered(50, seed=4)
    found, exact = (one.search(queries, 20)[1] for one in (moved, Flat(vectors)))
    assert asked == [2048]
    assert share(found, exact) >= 0.95


@pytest.mark.skipif(gpu_count() == 0, reason="no GPU that FAISS sees")
@pytest.mark.parametrize("kind", KINDS)
def test_on_a_gpu_the_neighbours_are_the_same(kind):
    vectors = clustered(5000)
    if kind == "flat":
        cpu = Flat(vectors)
    else:
        stored = vectors.astype(np.float16)
        cpu = Reranked(built(kind, stored, config(kind, reduce=16)), stored, Effort(64, 8))
    queries = clustered(50, seed=4)
    truth = Truth(queries, Flat(vectors).search(queries, 10)[1])
    assert share(engine_on("cuda", cpu).search(queries, 10)[1], truth.rows) >= 0.95


def test_the_trainer_refuses_a_kind_before_anything_else(capsys):
    from trainer.__main__ import main as train

    assert train(["build", "no-frames", "no-encoder", "no-index", "--kind", "annoy"]) == 1
    assert "kind: got 'annoy', must be auto or one of flat, ivf-sq" in capsys.readouterr().err
