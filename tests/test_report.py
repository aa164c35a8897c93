"""The report: its figures against slow definitions, and its page in a real browser that has no network."""

from __future__ import annotations

import io
import json
import math
import re
from collections import Counter
from dataclasses import replace

import av
import numpy as np
import pytest
from scipy.stats import t as t_of
from scipy.stats import ttest_ind

from index.encoder import open_encoder
from index.schema import Box, Frame, InvalidValueError, Plane
from index.transfer import transfer_box
from tests.browser import DESKTOP, PHONE, open_page
from tests.real_captures import SHARED
from trainer.__main__ import main
from trainer.evaluate import evaluate
from trainer.metrics import Estimate
from trainer.report import published
from trainer.report.answers import Answers, answer, overlap
from trainer.report.contents import tables
from trainer.report.curves import curves
from trainer.report.failures import GROUND_PLANE, KINDS, SYMMETRY, THICKNESS, corrections, failures
from trainer.report.gallery import failure_gallery, nearest, nearest_elsewhere, worst
from trainer.report.matching import encode_mp4, matching_video
from trainer.report.orderings import Comparison, comparisons, difference, pose, summary
from trainer.report.source import read_source
from trainer.report.tables import Cell, Column, Line, Table
from trainer.report.write import FORMAT, VERSION, ReportConfig, report

PAPER = SHARED.parent / "paper.txt"


@pytest.fixture(scope="module")
def run(small_run, tmp_path_factory):
    """A run's folder with its evaluation."""
    root = tmp_path_factory.mktemp("reported")
    (root / "frames").symlink_to(small_run.frames)
    (root / "encoder").symlink_to(small_run.encoder)
    evaluate(small_run.frames, small_run.encoder, small_run.index, root / "evaluation.json")
    return root


@pytest.fixture(scope="module")
def page(run):
    return report(run, run / "report")


@pytest.fixture(scope="module")
def answers(small_run):
    return answer(small_run.frames, open_encoder(small_run.encoder), 1000)


def test_answers_are_the_nearest_frames_boxes(answers):
    for row in range(0, len(answers.queries), 5):
        similarities = [answers.query_vectors[row] @ vector for vector in answers.reference_vectors]
        nearest = int(answers.nearest[row])
        assert similarities[nearest] == pytest.approx(max(similarities), abs=1e-6)  # some frames are equally alike
        query, found = answers.queries.frame(row), answers.references.frame(nearest)
        box = transfer_box(found, query.view)
        assert np.allclose(answers.boxes[row].corners, box.corners)
        assert answers.iou[row] == pytest.approx(overlap(box, query.box))


def a_query(answers) -> Frame:
    """One whose box stands free of the picture's border, so that the transfer from itself is exact."""
    for row in range(len(answers.queries)):
        frame = answers.queries.frame(row)
        if overlap(transfer_box(frame, frame.view), frame.box) > 0.99:
            return frame
    raise AssertionError("no such frame")


def test_failures_are_counted_among_queries_whose_pose_is_known():
    asked = Answers(None, None, None, None, None, (), np.array([0.9, np.nan, 0.7]))
    assert failure_gallery(asked, [])[0].text.startswith("0 of 2 boxes")


def test_a_thinner_box_is_a_failure_of_thickness(answers):
    query = a_query(answers)
    size = query.box.size.copy()
    size[size.argmin()] *= 0.3
    box = Box(query.box.rotation, query.box.center, size)
    mended = corrections(query, query, box)
    assert max(mended, key=mended.get) == THICKNESS
    assert mended[THICKNESS] > overlap(box, query.box) + 0.3


def test_a_turned_box_is_a_failure_of_symmetry(answers):
    query = a_query(answers)
    turn = math.pi / 2
    about_y = np.array([[math.cos(turn), 0, math.sin(turn)], [0, 1, 0], [-math.sin(turn), 0, math.cos(turn)]])
    size = query.box.size * (1.0, 1.0, 4.0)  # so that the turn shows
    query = replace(query, box=Box(query.box.rotation, query.box.center, size))
    turned = Box(query.box.rotation @ about_y, query.box.center, size)
    mended = corrections(query, query, turned)
    assert mended[SYMMETRY] == pytest.approx(1, abs=1e-6)
    assert max(mended, key=mended.get) in (SYMMETRY, GROUND_PLANE)


def test_a_wrong_plane_is_a_failure_of_the_ground_plane(answers):
    query = a_query(answers)
    _, plane = query.view.posed()
    wrong = replace(query, view=replace(query.view, plane=Plane(plane.normal, 1.6 * plane.offset)))
    box = transfer_box(query, wrong.view)
    assert overlap(box, query.box) < 0.5
    mended = corrections(query, wrong, box)
    assert max(mended, key=mended.get) == GROUND_PLANE
    assert mended[GROUND_PLANE] > 0.9


def test_failures_are_all_boxes_that_are_not_good_the_worst_first(answers):
    found = failures(answers)
    assert sorted(failure.row for failure in found) == np.flatnonzero(answers.iou <= 0.5).tolist()
    assert [failure.iou for failure in found] == sorted(failure.iou for failure in found)
    for failure in found:
        assert failure.kind in KINDS
        same = answers.queries.category[failure.row] == answers.references.category[answers.nearest[failure.row]]
        assert (failure.kind == "category") == (not same)
    videos = [answers.queries.sequence[failure.row] for failure in worst(answers.queries, found)]
    assert len(videos) == len(set(videos))


def test_neighbours_with_and_without_the_querys_own_video(answers):
    similarities = answers.query_vectors @ answers.query_vectors.T
    sequence = answers.queries.sequence
    for row in (0, len(sequence) - 1):
        others = [k for k in range(len(sequence)) if k != row]
        by_similarity = sorted(others, key=lambda k: -similarities[row, k])
        assert np.allclose(similarities[row, nearest(answers, row, 5)], similarities[row, by_similarity[:5]])
        elsewhere = nearest_elsewhere(answers, row, 4)
        names = sequence[elsewhere].tolist()
        assert sequence[row] not in names
        assert len(names) == len(set(names))
        for k in elsewhere:
            of_its_video = np.flatnonzero(sequence == sequence[k])
            assert similarities[row, k] == pytest.approx(similarities[row, of_its_video].max())


def test_a_matching_video_has_a_frame_a_query_and_can_be_read(answers):
    track = answers.queries.tracks()[0]
    with av.open(io.BytesIO(matching_video(answers, track))) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].codec_context.name == "h264"
    assert len(frames) == len(track)
    assert frames[0].std() > 10


def test_odd_sizes_are_encoded():
    picture = np.full((31, 45, 3), 200, np.uint8)
    with av.open(io.BytesIO(encode_mp4([picture, picture], 5))) as container:
        (first, _) = container.decode(video=0)
    assert (first.height, first.width) == (30, 44)
    assert np.abs(first.to_ndarray(format="rgb24").astype(int) - 200).max() < 6


def test_the_best_of_a_column_are_marked_here_and_published_apart():
    def cells(*values, paper=False):
        return tuple(Cell(value, published=paper) for value in values)

    rows = [
        Line("a", (*cells(0.501, None), *cells(0.9, paper=True))),
        Line("over those below", heading=True),
        Line("b", (*cells(0.499, 0.2), *cells(0.8, paper=True))),
        Line("c", (*cells(0.3, 0.1), *cells(None, paper=True))),
    ]
    table = Table.marked("t", "T", "", [Column("x"), Column("y", "percent"), Column("x")], rows)
    assert [[cell.best for cell in row.cells] for row in table.rows] == [
        [True, False, True],
        [],
        [True, True, False],  # 0.499 is printed as 0.50, as 0.501 is
        [False, False, False],
    ]
    assert [cell.text for cell in table.rows[2].cells] == ["0.50", "20.0", "0.80"]
    assert Cell(0.5, 0.41, 0.62).interval == ".41–.62"


def test_an_ordering_is_decided_by_the_interval_of_the_difference():
    high, low, wide = Estimate(0.8, 0.75, 0.85), Estimate(0.5, 0.45, 0.55), Estimate(0.6, 0.3, 0.9)
    assert difference([high], [low]) == Estimate(
        pytest.approx(0.3), pytest.approx(0.3 - math.hypot(0.05, 0.05)), pytest.approx(0.3 + math.hypot(0.05, 0.05))
    )
    verdicts = [
        Comparison("c", "f", "a", "b", difference([a], [b]), (1, 1)).verdict
        for a, b in ((high, low), (low, high), (high, wide))
    ]
    assert verdicts == ["holds", "reversed", "undecided"]


def around(*values, half=0.01):
    return [Estimate(value, value - half, value + half) for value in values]


def test_an_ordering_is_not_told_apart_where_seeds_differ_as_much_as_the_rows():
    """Over videos alone each seed's interval would tell them apart."""
    steady = difference(around(0.60, 0.61, 0.59), around(0.5, 0.51, 0.49))
    assert steady.low > 0
    restless = difference(around(0.60, 0.75, 0.45), around(0.5, 0.51, 0.49))
    assert restless.value == pytest.approx(0.1)
    assert Comparison("c", "f", "a", "b", restless, (3, 3)).verdict == "undecided"
    assert Comparison("c", "f", "a", "b", restless, (3, 3)).told == "not told apart (3 seeds)"
    assert Comparison("c", "f", "a", "b", steady, (3, 1)).told == "holds (3 and 1 seeds)"
    one = Comparison("c", "f", "a", "b", difference(around(0.6), around(0.5)), (1, 1))
    assert one.told == "holds (one seed each: other seeds may say otherwise)"


def test_the_spread_over_seeds_is_welchs():
    above, below = [0.62, 0.7, 0.55, 0.66], [0.5, 0.52, 0.47]
    found = difference(around(*above, half=0), around(*below, half=0))
    expected = ttest_ind(above, below, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    lone = difference(around(*above, half=0), around(0.5, half=0))  # taken to vary as the other row does
    half = t_of(3).ppf(0.975) * np.sqrt(np.var(above, ddof=1) * (1 / 4 + 1))
    assert (lone.high - lone.low) / 2 == pytest.approx(half)
    wide = difference(around(*above, half=0.03), around(*below, half=0.04))
    assert wide.high - wide.value == pytest.approx(math.hypot(0.03, 0.04, found.high - found.value))


def test_orderings_compare_the_rows_that_there_are(run):
    source = read_source(run)
    raw, random, trained = source.entries
    named = [("nearby-lc", trained), ("same-lc", random), ("distant-full", raw)]
    learnt = [replace(entry, name=name, label=name, kind="learnt") for name, entry in named]
    found = comparisons(replace(source, entries=(*learnt, random)))
    assert Counter(comparison.claim for comparison in found) == {
        "Nearby pairs keep the pose best": 2,
        "Distant pairs keep the identity best": 2,
        "Pairs of the same frame are worst at identity": 2,
        "Everything else is above random initialisation": 3,
    }
    first = found[0]
    assert (first.better, first.worse) == ("nearby-lc", "same-lc")
    assert first.difference.value == pytest.approx(pose(trained.rows[0]).value - pose(random.rows[0]).value)
    itself = [c for c in found if c.better == "same-lc" and "random" in c.claim]
    assert [c.verdict for c in itself] == ["undecided"]  # the same figures twice
    assert sum(sum(counts.values()) for counts in summary(found).values()) == len(found)


def test_3d_map_is_one_figure_in_every_table(run):
    source = read_source(run)
    (trained,) = (entry for entry in source.entries if entry.kind == "encoder")
    named = [("nearby-lc", "Nearby"), ("pose-identity", "Ours")]
    learnt = tuple(replace(trained, name=name, label=label, kind="learnt") for name, label in named)
    made = {table.id: table for table in tables(replace(source, entries=learnt))}
    expected = trained.rows[0].pose("paper").overall.iou_50.value
    first = {line.label: line.cells[-1].value for line in made["table1"].rows if line.label in ("Nearby", "Ours")}
    place = [column.title for column in made["table2"].columns].index("3D mAP")
    second = {line.label: line.cells[place].value for line in made["table2"].rows if line.cells[place].value}
    assert first == {"Nearby": expected, "Ours": expected}
    assert second == {"Nearby frame pairs": expected, "Ours": expected}
    (line,) = made["table5"].rows
    assert line.cells[2].value == expected


def test_rows_of_table_5_with_another_loss_are_in_table_5_alone(run):
    source = read_source(run)
    (trained,) = (entry for entry in source.entries if entry.kind == "encoder")
    named = ("nearby-lc", "ntxent-nearby-lc", "ntxent-same-lc")
    learnt = tuple(replace(trained, name=name, label=name, kind="learnt") for name in named)
    made = {table.id: table for table in tables(replace(source, entries=learnt))}
    assert [(line.label, line.heading) for line in made["table5"].rows] == [
        ("nearby-lc", False),
        ("With NT-Xent in SimSiam's place", True),
        ("ntxent-nearby-lc", False),
        ("ntxent-same-lc", False),
    ]
    assert not any("ntxent" in line.label for line in made["table2"].rows)
    claims = Counter(comparison.claim for comparison in comparisons(replace(source, entries=learnt)))
    assert claims == {
        "Nearby pairs keep the pose best, with NT-Xent": 1,
        "Pairs of the same frame are worst at identity, with NT-Xent": 1,
    }


def test_curves_of_an_encoder_whose_similarities_are_all_alike(run):
    source = read_source(run)
    entry = source.entries[-1]
    alike = replace(entry.rows[0], calibration=replace(entry.rows[0].calibration, rank_correlation=None))
    texts = [block.text for block in curves(source, replace(entry, rows=(alike,)))]
    assert any("a tenth of the queries" in text for text in texts)
    assert not any("Rank correlation" in text for text in texts)


@pytest.mark.skipif(not PAPER.is_file(), reason="the paper's text is not there")
@pytest.mark.parametrize(("table", "scale"), [("TABLE1", 1), ("TABLE2", 1), ("TABLE4", 100), ("TABLE5", 1)])
def test_published_figures_are_the_papers(table, scale):
    text = PAPER.read_text()
    for name, values in getattr(published, table).items():
        label = {"px": "PX", "ulc": "ULC + PX", "lc": "LC + PX", "full": "Full"}.get(name.partition("-")[2])
        shown = f"{name.partition('-')[0].capitalize()} - {label}" if label else name
        lines = [line for line in text.splitlines() if re.match(rf"{re.escape(shown)}( \[\d+\])?\t", line)]
        numbers = [[float(part.rstrip("%")) for part in line.split("\t")[1:]] for line in lines]
        expected = [value * scale for value in values]
        if table in ("TABLE2", "TABLE5"):
            expected[0] *= 100
        assert any(row == pytest.approx(expected) for row in numbers), name


def test_report_json_says_what_the_page_shows(page, run, answers):
    content = json.loads((page.parent / "report.json").read_text())
    assert (content["format"], content["version"]) == (FORMAT, VERSION)
    assert [row["name"] for row in content["rows"]] == ["raw", "random", "trained encoder"]
    source = read_source(run)
    trained = source.entries[-1].rows[0]
    table1 = next(table for table in content["tables"] if table["id"] == "table1")
    cells = next(row for row in table1["rows"] if row["label"] == "Trained encoder")["cells"]
    assert cells[-1]["value"] == trained.pose("paper").overall.iou_50.value
    assert content["shown"] == "trained encoder"
    wrong = content["failures"]
    assert sum(wrong["kinds"].values()) == len(wrong["frames"])
    assert len(wrong["frames"]) == np.sum(answers.iou <= 0.5)
    assert "orderings" in content
    assert content["budget"] is None


def test_the_page_is_one_file_of_bounded_size(page):
    html = page.read_text()
    assert len(html) < 15_000_000
    assert "<script" not in html
    assert not re.search(r'(?:src|href)="(?!#|data:)', html)
    assert not re.search(r"url\((?!#)", html)


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_offline(page, browser, viewport, scheme):
    options = {"viewport": viewport, "color_scheme": scheme, "offline": True}
    with open_page(browser, page.as_uri(), **options) as opened:
        assert opened.locator("table").count() >= 2
        assert opened.locator("#table1 .published").count() > 0
        assert opened.locator("svg[role=img]").count() >= 4
        assert opened.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        broken = (
            "[...document.images].filter((i) => { i.loading = 'eager'; return i.complete && !i.naturalWidth; }).length"
        )
        assert opened.evaluate(broken) == 0
        ids = opened.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
        assert len(ids) == len(set(ids))


def test_videos_play(page, browser):
    with open_page(browser, page.as_uri(), offline=True) as opened:
        video = opened.locator("video").first
        video.scroll_into_view_if_needed()
        video.evaluate("(v) => v.play()")
        opened.wait_for_function("document.querySelector('video').currentTime > 0.1")
        assert video.evaluate("(v) => v.videoWidth") > 100


def test_without_frames_the_page_has_figures_alone(run, tmp_path, caplog):
    (tmp_path / "evaluation.json").write_bytes((run / "evaluation.json").read_bytes())
    html = report(tmp_path / "evaluation.json", tmp_path / "out").read_text()
    assert "no pictures in the report" in caplog.text
    assert 'id="table2"' in html
    assert "<img" not in html
    assert json.loads((tmp_path / "out" / "report.json").read_text())["failures"] is None


def test_what_cannot_be_reported_is_refused(run, tmp_path):
    with pytest.raises(InvalidValueError, match="evaluation"):
        report(tmp_path, tmp_path / "out")
    with pytest.raises(InvalidValueError, match="show"):
        report(run, tmp_path / "out", ReportConfig(show="nearby-lc"))


def test_the_command_writes_both(run, tmp_path, capsys):
    out = tmp_path / "report"
    (tmp_path / "evaluation.json").write_bytes((run / "evaluation.json").read_bytes())
    assert main(["report", str(tmp_path / "evaluation.json"), "--out", str(out), "--title", "A title"]) == 0
    assert "<h1>A title</h1>" in (out / "report.html").read_text()
    assert str(out / "report.html") in capsys.readouterr().out
