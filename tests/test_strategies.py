"""The paper's rows by name: each is what its label says, under the preset's budget."""

from __future__ import annotations

import dataclasses

import pytest

from index.schema import InvalidValueError
from trainer.__main__ import main
from trainer.config import PRESETS
from trainer.strategies import STRATEGIES, TABLE_2, strategy


def test_table_5_is_three_pairings_by_four_augmentations():
    rows = [s for s in STRATEGIES.values() if s.table == 5]
    assert len(rows) == 12
    for row in rows:
        config = row.config(PRESETS["scratch"])
        assert row.name == f"{config.pairs}-{config.augmentation}"
        assert row.label.lower().startswith(config.pairs)
        assert (config.loss, config.window, config.together) == ("simsiam", "anchor", 1)


def test_table_5_is_there_with_nt_xent_as_well():
    rows = [s for s in STRATEGIES.values() if s.table == 5]
    for row in rows:
        config = strategy(f"ntxent-{row.name}").config(PRESETS["scratch"])
        assert config == dataclasses.replace(row.config(PRESETS["scratch"]), loss="ntxent", temperature=0.1)


def test_table_2_has_its_baselines():
    assert set(TABLE_2.values()) <= set(STRATEGIES)
    ntxent, tcn = (strategy(name).config(PRESETS["paper"]) for name in ("nt-xent", "tcn"))
    assert (ntxent.loss, ntxent.temperature) == ("ntxent", 0.5)
    assert (tcn.loss, tcn.pairs, tcn.margin) == ("tcn", "triplet", 0.2)


@pytest.mark.parametrize("name", [n for n, s in STRATEGIES.items() if s.changes is not None])
@pytest.mark.parametrize("preset", ["paper", "scratch"])
def test_a_strategy_leaves_network_and_budget(name, preset):
    base = PRESETS[preset]
    config = strategy(name).config(base)
    changed = {f.name for f in dataclasses.fields(base) if getattr(config, f.name) != getattr(base, f.name)}
    assert changed <= {"loss", "pairs", "augmentation", "window", "together", "temperature", "margin"}


def test_the_papers_own_is_nearby_pairs_with_light_crops():
    assert strategy("nearby-lc").config(PRESETS["paper"]) == PRESETS["paper"]


def test_what_is_not_trained_has_no_config():
    with pytest.raises(InvalidValueError, match="strategy"):
        strategy("random").config(PRESETS["paper"])
    with pytest.raises(InvalidValueError, match="nearby-lc"):
        strategy("near")


def test_the_command_line_knows_them(tmp_path, capsys):
    arguments = ["train", str(tmp_path / "frames"), str(tmp_path / "run"), "--preset", "paper", "--strategy"]
    assert main([*arguments, "near"]) == 1
    assert "strategy: got 'near', must be one of same-px" in capsys.readouterr().err
