"""Controlled ablations, at a size that takes seconds."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from torch.nn import functional as F

from erragree_utils import load_benchmark, load_mllm
from erragree_utils.scoring.methods import VQA_QUESTION
from erragree_utils.tabletop import captions
from erragree_utils.training import ablations, clip
from erragree_utils.training.ablations import evaluate, experiments, models, tables, train, world
from erragree_utils.training.ablations.__main__ import main
from erragree_utils.training.data import training_scenes

SMALL = {
    "steps": 3, "scenes": 400, "batch": 8, "captions": 2, "places_per_batch": 3, "width": 32,
    "layers": 2, "text_layers": 1, "embed_dim": 16, "image_size": 24, "margin": 2, "n_sets": 4,
    "warmup": 1,
}  # fmt: skip
SETTINGS = experiments.Settings(**SMALL)
READING = experiments.experiment("reader of patches").settings(0)
METRICS = {
    "individual", "pair", "relative", "retrieval", "cosine", "cosine of random images",
}  # fmt: skip


def weights(model):
    return torch.cat([p.flatten() for p in model.parameters()])


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The folder of all runs of this file: pictures are rendered once."""
    folder = tmp_path_factory.mktemp("ablations")
    (folder / "pictures").mkdir()  # some tests link to it, whichever runs first
    return folder


@pytest.fixture(scope="module")
def seen(out):
    """The training world of the small settings."""
    s = SETTINGS
    return world.load_world(
        out / "pictures", 0, s.scenes, s.image_size + s.margin, s.captions, s.context
    )


@pytest.fixture(scope="module")
def recorded(out):
    """Two experiments with two seeds each, and the tables that were written."""
    train.run_many(["CLIP", "hard negatives"], [0, 1], out, **SMALL)
    train.collect(out, out / "tables")
    return out / "tables"


# --- the experiments -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_an_experiment_differs_from_its_base_in_one_setting(name):
    found = experiments.EXPERIMENTS[name]
    if found.base is None:
        assert name in experiments.ROOTS
        return
    mine, base = (asdict(experiments.experiment(n).settings(7)) for n in (name, found.base))
    assert [key for key in mine if mine[key] != base[key]] == [found.factor]


def test_all_experiments_of_one_root_share_seeds_and_data():
    fixed = ("seed", "scenes", "captions", "places_per_batch", "image_size", "warmup", "n_sets")
    for found in experiments.EXPERIMENTS.values():
        root = found
        while root.base:
            root = experiments.EXPERIMENTS[root.base]
        mine, its = found.settings(3), root.settings(3)
        assert all(getattr(mine, key) == getattr(its, key) for key in fixed)


def test_every_experiment_belongs_to_a_family_and_stands_beside_its_base():
    names = {name for family in experiments.FAMILIES.values() for name in family}
    assert names == set(experiments.EXPERIMENTS)
    for family in experiments.FAMILIES.values():
        assert len(set(family)) == len(family)
        assert experiments.EXPERIMENTS[family[0]].base is None


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="no experiment 'CLAP'.*hard negatives"):
        train.run_one("CLAP", 0, None)


def test_what_the_paper_reports_names_experiments_of_ours_and_its_grade():
    assert experiments.GRADE == "S"
    assert {row["ours"] for row in experiments.REPORTED} <= set(experiments.EXPERIMENTS)


def test_settings_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="tokens='weighted'"):
        models.build(replace(SETTINGS, rotary=True))
    with pytest.raises(ValueError, match="does not go with captioning"):
        models.build(replace(SETTINGS, objective="captioning", tokens="mean"))
    with pytest.raises(ValueError, match="needs encoder='mini-llava'"):
        models.build(replace(SETTINGS, objective="answering", tokens="patches"))
    with pytest.raises(ValueError, match="text must be one of"):
        models.build(replace(SETTINGS, text="bert"))


# --- the data ------------------------------------------------------------------------------------


def test_an_opposite_caption_turns_the_relation_round_and_nothing_else():
    turned = {
        "a red mug to the left of the chair on the beach":
            "a red mug to the right of the chair on the beach",
        "we see mug is on top of a stool": "we see mug is below a stool",
        "the mug under table in the library": "the mug on table in the library",
        "a vase in front of a red box": "a vase behind a red box",
        "a red mug on the beach": None,
    }  # fmt: skip
    for text, opposite in turned.items():
        assert world.opposite_caption(text) == opposite


def test_captions_of_the_four_sorts_are_what_they_say(seen):
    decode = world.tokens_of().decode
    for sort, states in ((seen.plain, False), (seen.stating, True), (seen.opposite, True)):
        texts = [decode(row, skip_special_tokens=True) for row in sort[:30].flatten(0, 1)]
        assert all(captions.states_relation(text) == states for text in texts)
    assert (seen.stating != seen.opposite).any(-1).all()
    asked = [decode(row, skip_special_tokens=True) for row in seen.asking[:30].flatten(0, 1)]
    assert sum("?" in text for text in asked) > len(asked) / 2


def test_the_world_keeps_scenes_of_two_things(seen):
    scenes = training_scenes(0, 0, SETTINGS.scenes)
    assert len(seen.images) == len(seen.plain) <= sum(s.relation is not None for s in scenes)
    assert len(seen.images) > 0.4 * SETTINGS.scenes


def test_experiments_of_one_seed_see_the_same_pictures(seen):
    other = replace(SETTINGS, relation_share=1.0, hard_negatives=True, question_share=0.5)
    first, second = (world.Batches(seen, s).draw(5) for s in (SETTINGS, other))
    assert torch.equal(first[0], second[0])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_share_of_captions_with_a_relation_is_the_settings(seen, share):
    batches = world.Batches(seen, replace(SETTINGS, relation_share=share, hard_negatives=True))
    _, (texts, negative) = batches.draw(0)
    decoded = world.tokens_of().batch_decode(texts, skip_special_tokens=True)
    assert np.mean([captions.states_relation(text) for text in decoded]) == share
    assert len(negative) == share * len(texts)


def test_without_hard_negatives_the_batch_has_none(seen):
    _, (texts, negative) = world.Batches(seen, replace(SETTINGS, relation_share=1.0)).draw(0)
    assert len(negative) == 0 and len(texts) == SETTINGS.batch


def test_a_batch_that_does_not_fit_is_refused(seen):
    with pytest.raises(ValueError, match="draw more scenes than 400"):
        world.Batches(seen, replace(SETTINGS, batch=300))


# --- the models ----------------------------------------------------------------------------------


def test_the_loss_without_negatives_is_clips():
    images, texts = (F.normalize(torch.randn(5, 8), dim=-1) for _ in range(2))
    ours = models.contrastive_loss(100 * images @ texts.T)
    assert torch.allclose(ours, clip.contrastive_loss(images, texts, torch.tensor(100.0)))


def test_a_hard_negative_adds_to_the_loss_of_the_image_alone():
    scores = torch.tensor([[5.0, 0.0, 4.0], [0.0, 5.0, 0.0]])
    assert models.contrastive_loss(scores) > models.contrastive_loss(scores[:, :2])


def test_weighted_cosines_are_those_of_the_weighted_mean():
    torch.manual_seed(0)
    patches = F.normalize(torch.randn(2, 9, 8), dim=-1)
    texts = F.normalize(torch.randn(3, 8), dim=-1)
    found = models.weighted_cosines(patches, texts)
    for i in range(2):
        for j in range(3):
            weight = (models.SHARPNESS * patches[i] @ texts[j]).softmax(0)
            mean = weight @ patches[i]
            assert torch.isclose(found[i, j], F.cosine_similarity(mean, texts[j], dim=0))


def test_rotation_keeps_lengths_and_tells_places_apart():
    same = torch.randn(1, 1, 16).expand(1, 9, 16)
    turned = models.rotate(same)
    assert torch.allclose(turned.norm(dim=-1), same.norm(dim=-1), atol=1e-5)
    assert torch.equal(turned[0, 0], same[0, 0])  # the first place is not turned
    assert torch.pdist(turned[0]).min() > 0.05


def test_without_positions_the_mean_patch_does_not_tell_where_things_are():
    torch.manual_seed(0)
    image = torch.randn(1, 3, 24, 24)
    left_right = torch.cat([image[..., 8:16], image[..., :8], image[..., 16:]], dim=-1)
    found = {}
    for positions in (True, False):
        model = models.build(replace(SETTINGS, tokens="mean", positions=positions)).eval()
        with torch.no_grad():
            found[positions] = (
                (model.embed_images(image) - model.embed_images(left_right)).abs().max()
            )
    assert found[False] < 1e-5 < found[True]


def test_the_score_of_a_caption_is_its_log_likelihood(seen):
    model = models.build(replace(SETTINGS, objective="captioning", tokens="patches")).eval()
    batches = world.Batches(seen, SETTINGS)
    images, (texts, _) = batches.draw(0)
    with torch.no_grad():
        table, paired = model.scores(images, texts), model.paired(images, texts)
        seen_ = model.projector(model.read(images[:1]))
        n, total = int(models.text_ends(texts)[0]), 0.0
        for k in range(n):  # word by word
            states = model.text(texts[:1, : k + 1], seen_)[0, -1]
            total += model.head(states).log_softmax(-1)[texts[0, k + 1]]
    assert torch.allclose(table.diagonal(), paired, atol=1e-4)
    assert torch.allclose(paired[0], total, atol=1e-4)


def test_padding_does_not_change_a_texts_score(seen):
    batches = world.Batches(seen, SETTINGS)
    images, (texts, _) = batches.draw(0)
    padded = F.pad(texts, (0, 3), value=world.tokens_of().pad_token_id)
    for change in ({}, {"tokens": "weighted", "text_tokens": "all"}, {"text": "mini-llava"}):
        model = models.build(replace(SETTINGS, **change)).eval()
        with torch.no_grad():
            assert torch.allclose(
                model.scores(images, texts), model.scores(images, padded), atol=1e-5
            )


def test_the_converted_reader_embeds_what_the_mini_llava_computes():
    """Image and prompt give the state that the shipped model has at its last token."""
    model = models.build(replace(SETTINGS, encoder="mini-llava", image_size=80)).eval()
    images = torch.randn(2, 3, 80, 80)
    whole = models.mini_llava(True).eval()
    line = f"<s>{models.llava.SYSTEM} USER: " + "<image>" * whole.config.image_seq_length
    line += f"{models.PROMPT} ASSISTANT:"
    core = world.tokens_of().backend_tokenizer
    ids = torch.tensor([core.encode(line, add_special_tokens=False).ids] * 2)
    with torch.no_grad():
        states = whole.model(input_ids=ids, pixel_values=images).last_hidden_state[:, -1]
        assert torch.allclose(model.embed_images(images), F.normalize(states, dim=-1), atol=1e-4)


def test_what_has_learned_nothing_differs_from_seed_to_seed():
    a, b = (models.mini_llava(False, seed) for seed in (0, 1))
    assert not torch.equal(a.lm_head.weight, b.lm_head.weight)
    eyes = [model.model.vision_tower.state_dict() for model in (a, b)]
    assert all(torch.equal(eyes[0][key], eyes[1][key]) for key in eyes[0])


# --- training and measuring ----------------------------------------------------------------------


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(out, tmp_path, monkeypatch):
    whole = train.train(SETTINGS, tmp_path / "whole", out / "pictures", every=2)
    draw = world.Batches.draw

    def killed_at_two(self, step):
        if step == 2:
            raise KeyboardInterrupt
        return draw(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(world.Batches, "draw", killed_at_two)
        with pytest.raises(KeyboardInterrupt):
            train.train(SETTINGS, tmp_path / "killed", out / "pictures", every=2)
    resumed = train.train(SETTINGS, tmp_path / "killed", out / "pictures", every=2)
    assert torch.equal(weights(whole), weights(resumed))


def test_training_lowers_the_loss(out, tmp_path, seen):
    settings = replace(SETTINGS, steps=40, lr=5e-3, muon_lr=5e-3)
    images, (texts, negative) = world.Batches(seen, settings).draw(0)
    before = models.build(settings).loss(images, texts, negative)
    model = train.train(settings, tmp_path / "run", out / "pictures")
    assert model.loss(images, texts, negative) < before


@pytest.mark.parametrize("tokens", ["patches", "cls"])
def test_a_reader_learns_to_answer_and_its_eyes_stay_frozen(tokens, seen):
    settings = replace(READING, tokens=tokens)
    model = models.build(settings)
    eyes = [p.clone() for p in model.llava.model.vision_tower.parameters()]
    steppers = train.loop.optimizers(model, settings, train.BLOCKS)
    rows = world.QuestionBatches(seen, SETTINGS).draw(0)[1][0]
    images = torch.randn(len(rows), 3, 80, 80)
    losses = []
    for _ in range(4):
        losses.append(model.loss(images, rows, None))
        losses[-1].backward()
        train.loop.update(steppers, 0.1)
    assert losses[-1] < losses[0]
    after = model.llava.model.vision_tower.parameters()
    assert all(torch.equal(a, b) for a, b in zip(eyes, after, strict=True))
    assert model.read(images).shape[1] == {"patches": 64, "cls": 1}[tokens]


def test_a_readers_score_is_the_log_of_vqascore():
    """By the package's own path, for the shipped weights: the projector is put back."""
    mllm = load_mllm("mini")
    model = models.build(READING).eval()
    model.llava.model.multi_modal_projector = mllm.model.model.multi_modal_projector
    pairs = load_benchmark("tabletop-a", n_sets=2).select("left/right")
    images = [image for pair in pairs for image in pair.images]
    texts = [text for pair in pairs for text in pair.captions]
    asked = [(VQA_QUESTION.format(caption=text), "Yes") for text in texts]
    expected = [[score.total for score in row] for row in mllm.answer_logprobs(images, [asked] * 4)]
    pixels = clip.normalise(torch.from_numpy(np.stack([np.asarray(i) for i in images])))
    tokens = world.encode(texts, 34)
    with torch.no_grad():
        found, paired = model.scores(pixels, tokens), model.paired(pixels, tokens)
    assert np.allclose(found, expected, atol=0.05)
    assert torch.allclose(found.diagonal(), paired, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["several text tokens", "captioner of CLS", "language model", "questions 50%"]
)
def test_experiments_train_and_are_measured(name, out, tmp_path):
    (tmp_path / "pictures").symlink_to(out / "pictures")
    rows = train.run_one(name, 0, tmp_path, **SMALL | {"steps": 2})
    assert set(rows["metric"]) == METRICS and rows["value"].notna().all()


def test_the_measures_of_a_model_that_knows_the_answers(monkeypatch):
    """A stand-in scores own captions best: all is right, and cosines are of what it embeds."""
    exam = evaluate.load_exam("tabletop-a", 4, 24, 34)
    same, other = np.stack([np.eye(4)] * 2), np.zeros(8)
    other[3] = 1.5  # the second image of the second pair prefers the wrong caption, a little
    monkeypatch.setattr(evaluate, "scores", lambda model, exam: (same, other))
    seen = np.repeat(np.eye(4), 2, axis=0)
    seen[1] = [0.5, 0, 0, 0.75**0.5]  # a pair with a cosine of one half
    monkeypatch.setattr(evaluate, "vectors", lambda model, exam: seen)
    found = evaluate.measure(torch.nn.Identity(), SETTINGS).set_index(["benchmark", "metric"])
    at = found.loc["tabletop-a"]
    assert at.loc["individual", "value"] == 7 / 8 and at.loc["individual", "per_pair"] == "2122"
    assert at.loc["pair", "value"] == 3 / 4 and at.loc["retrieval", "value"] == 1.0
    assert at.loc["relative", "value"] == 1.0 and at.loc["relative", "per_pair"] == "1111"
    assert at.loc["cosine", "value"] == pytest.approx(0.875)
    assert at.loc["cosine of random images", "value"] == 0.0
    assert len(exam.images) == len(exam.texts) == 8


def test_a_probe_finds_a_side_that_is_in_the_vectors_and_none_that_is_not():
    exam = evaluate.load_exam("tabletop-a", evaluate.PROBE_SETS, 24, 34)
    rng = np.random.default_rng(0)
    sets = rng.standard_normal((evaluate.PROBE_SETS, 8)).repeat(2, axis=0)
    left = np.array(["left" in text for text in exam.captions])
    noise = 0.01 * rng.standard_normal(sets.shape)
    there, absent = sets + noise, sets + noise
    there[:, 0] += 0.1 * left
    assert evaluate.probe_sides(there, exam)[0] > 0.95
    assert evaluate.probe_sides(absent, exam)[0] < 0.7


def test_a_tie_is_not_right():
    assert not evaluate._finds(np.ones((3, 3))).any()


# --- the tables ----------------------------------------------------------------------------------


def test_a_table_has_a_row_for_each_run_benchmark_and_metric(recorded):
    table = ablations.results("data", recorded)
    assert list(table.columns) == [
        "family", "experiment", "factor", "setting", "base", "seed", "benchmark", "metric",
        "value", "low", "high", "n", "per_pair", "steps", "seconds", "threads", "hardware",
        "command", "settings_hash",
    ]  # fmt: skip
    assert len(table) == 2 * 2 * 2 * len(METRICS)
    row = table[table["experiment"] == "hard negatives"].iloc[0]
    assert (row["factor"], row["setting"], row["base"]) == ("hard_negatives", "True", "CLIP")
    assert row["command"].startswith("rerun('hard negatives', 0, **{'steps': 3, 'scenes': 400")
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    settings = experiments.experiment("hard negatives").settings(0, **SMALL)
    assert row["settings_hash"] == experiments.settings_hash(settings)


def test_a_run_names_the_command_that_makes_it():
    named = train._command("hard negatives", 1, {"steps": 4})
    assert named.endswith("ablations --experiment 'hard negatives' --seeds 1 --steps 4")


def test_digits_of_pairs_add_up_to_the_value(recorded):
    table = ablations.results("data", recorded)
    for row in table[table["metric"] == "individual"].itertuples():
        right = [int(digit) for digit in row.per_pair]
        assert len(right) == row.n and np.mean(right) / 2 == pytest.approx(row.value, abs=1e-5)


def test_a_finished_run_is_not_trained_again(recorded, out, monkeypatch):
    monkeypatch.setattr(train, "train", lambda *a, **k: pytest.fail("trained again"))
    rows = train.run_one("CLIP", 0, out, **SMALL)
    assert set(rows["experiment"]) == {"CLIP"}


def test_a_run_that_another_process_trains_is_left_to_it(out, tmp_path, capsys):
    (tmp_path / "pictures").symlink_to(out / "pictures")
    (tmp_path / "CLIP-0").mkdir()
    with FileLock(tmp_path / "CLIP-0" / "run.lock"):
        train.run_many(["CLIP"], [0], tmp_path, **SMALL)
    assert "CLIP, seed 0: another process trains it" in capsys.readouterr().out
    assert not (tmp_path / "CLIP-0" / "result.csv").exists()


def test_a_folder_of_other_settings_is_refused(recorded, out):
    with pytest.raises(ValueError, match="other settings; choose another --out"):
        train.run_one("CLIP", 0, out, **SMALL | {"steps": 4})


def test_runs_that_are_not_recorded_are_named(recorded):
    missing = ablations.missing_runs(ablations.results("data", recorded))
    there = missing[missing["family"] == "data"].groupby("experiment")["seed"].apply(list)
    assert there["CLIP"] == [2] and there["relations 0%"] == [0, 1, 2]


def made_up(**values):
    """A table of two experiments: pairs right of each seed, as digits."""
    rows = [
        {"experiment": name, "factor": "hard_negatives" if name != "CLIP" else "", "setting": "",
         "seed": seed, "benchmark": "tabletop-a", "metric": "pair", "n": len(text),
         "per_pair": text, "value": text.count("2") / len(text)}
        for name, texts in values.items() for seed, text in enumerate(texts)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_summary_is_over_seeds_and_pairs():
    table = made_up(CLIP=["2000" * 25, "2200" * 25, "0000" * 25])
    row = ablations.summarise(table).loc["CLIP", "tabletop-a"]
    assert row["value"] == pytest.approx(0.25) and row["n_seeds"] == 3
    assert (row["lowest"], row["highest"]) == (0.0, 0.5)
    alone = ablations.summarise(table[table["seed"] == 0]).loc["CLIP", "tabletop-a"]
    width = [r["value_high"] - r["value_low"] for r in (row, alone)]
    assert width[0] > width[1]  # seeds differ, too
    assert alone["value_low"] < 0.25 < alone["value_high"]


def test_a_summary_claims_no_certainty_where_nothing_varies():
    none = ablations.summarise(made_up(CLIP=["0" * 100] * 3)).loc["CLIP", "tabletop-a"]
    assert none["value_low"] == 0 and 0.02 < none["value_high"] < 0.05
    cosine = made_up(CLIP=["0" * 100]).assign(metric="cosine", per_pair="", value=0.98)
    alone = ablations.summarise(cosine, "cosine").loc["CLIP", "tabletop-a"]
    assert alone["value"] == 0.98 and np.isnan(alone["value_low"])


def test_an_effect_is_the_difference_to_the_base_on_the_same_pairs():
    table = made_up(
        CLIP=["2000" * 25] * 2, **{"hard negatives": ["2200" * 25, "2200" * 25, "2222" * 25]}
    )
    row = ablations.effects(table).loc["hard negatives", "tabletop-a"]
    assert row["difference"] == pytest.approx(0.25) and row["n_seeds"] == 2  # shared seeds alone
    assert 0 < row["difference_low"] < 0.25 < row["difference_high"] and row["base"] == "CLIP"
    assert ("CLIP", "tabletop-a") not in ablations.effects(table).index


def test_an_overview_has_a_row_for_each_experiment_and_a_column_for_each_measure(recorded):
    shown = ablations.overview(ablations.results("data", recorded), ["hard negatives", "CLIP"])
    assert list(shown.index) == ["hard negatives", "CLIP"]
    columns = ["pair A", "pair B", "relative A", "relative B", "objects A"]
    assert list(shown.columns) == columns
    assert shown["pair A"].str.fullmatch(r"\d+ \[\d+, \d+\]").all()
    assert shown["objects A"].str.fullmatch(r"\d+").all()


def test_a_metric_or_family_that_is_not_there_is_named(tmp_path, recorded):
    with pytest.raises(ValueError, match="no rows of metric 'f1'"):
        ablations.summarise(ablations.results("data", recorded), "f1")
    with pytest.raises(ValueError, match="no family 'date'"):
        ablations.results("date")
    with pytest.raises(FileNotFoundError, match="--only text"):
        ablations.results("text", tmp_path)


# --- the command line ----------------------------------------------------------------------------


def test_the_list_names_each_experiment_and_its_change(capsys):
    main(["--list"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in experiments.EXPERIMENTS)
    assert "weighted patches, but rotary=True" in shown


def test_collect_writes_tables_of_finished_runs_alone(recorded, out, tmp_path, capsys):
    main(["--collect", "--out", str(out), "--tables", str(tmp_path)])
    assert "data.csv: 4 runs" in capsys.readouterr().out
    assert tables.read_rows(tmp_path / "data.csv").equals(tables.read_rows(recorded / "data.csv"))
    main(["--collect", "--out", str(tmp_path / "nothing")])
    assert "no finished run" in capsys.readouterr().out


def test_collect_keeps_runs_that_only_the_table_has(recorded, out, tmp_path):
    """A folder with some of the runs does not wipe out the others' record."""
    train.collect(out, tmp_path / "tables")
    one = tmp_path / "one"
    shutil.copytree(out / "hard-negatives-1", one / "hard-negatives-1")
    train.collect(one, tmp_path / "tables")
    for family in ("data", "tokens"):
        kept = tables.read_rows(tmp_path / "tables" / f"{family}.csv")
        assert kept.equals(tables.read_rows(recorded / f"{family}.csv"))


def test_collect_refuses_to_write_trials_over_a_record(recorded, out, tmp_path):
    (tmp_path / "pictures").symlink_to(out / "pictures")
    train.run_one("CLIP", 0, tmp_path, **SMALL | {"steps": 2})
    with pytest.raises(ValueError, match="write trials elsewhere"):
        train.collect(tmp_path, recorded)
    assert (tables.read_rows(recorded / "data.csv")["steps"] == SMALL["steps"]).all()


def test_an_unknown_family_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--only", "token"])
    assert "invalid choice: 'token'" in capsys.readouterr().err


def test_a_rerun_leaves_nothing_behind_and_gives_rows(out, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    rows = ablations.rerun("CLIP", seed=3, **SMALL | {"steps": 2})
    assert (rows["steps"] == 2).all() and set(rows["metric"]) == METRICS


def test_a_difference_of_means_is_over_seeds_pairs_and_benchmarks():
    table = made_up(
        **{"CLIP": ["2000" * 25] * 2, "hard negatives": ["2200" * 25, "2222" * 25],
           "mean patch": ["0000" * 25] * 2}
    )  # fmt: skip
    both = pd.concat([table, table.assign(benchmark="tabletop-b", per_pair="2" * 100)])
    hard, others = ["hard negatives"], ["CLIP", "mean patch"]
    value, low, high = ablations.difference(table, "pair", hard, others)
    assert value == pytest.approx(0.75 - 0.125) and low < value < high
    assert ablations.difference(both, "pair", hard, others)[0] == pytest.approx(value / 2)
    assert ablations.difference(both, "pair", hard)[0] == pytest.approx((0.75 + 1) / 2)


# --- the tables that this package ships ----------------------------------------------------------


def test_recorded_rows_are_of_the_experiments_as_they_are_now():
    table = ablations.results()
    for row in table.drop_duplicates(["experiment", "seed"]).itertuples():
        found = experiments.experiment(row.experiment)
        assert row.settings_hash == experiments.settings_hash(found.settings(row.seed)), row
        assert row.base == (found.base or "") and row.factor == found.factor
    assert not table.duplicated(["family", "experiment", "seed", "benchmark", "metric"]).any()


def test_every_recorded_run_has_every_measure():
    table = ablations.results()
    assert ablations.missing_runs(table).empty
    found = table.groupby(["experiment", "seed", "benchmark"])["metric"].agg(set)
    assert (found.xs("tabletop-a", level=2) == METRICS | {"probe"}).all()
    assert (found.xs("tabletop-b", level=2) == METRICS).all()


def test_recorded_rows_of_the_short_family_come_out_again(tmp_path):
    """By its command, for one seed: every value lies within the interval on record."""
    main(["--only", "short", "--seeds", "0", "--out", str(tmp_path)])
    key = ["experiment", "benchmark", "metric"]
    again = ablations.results("short", tmp_path / "tables").set_index(key)["value"]
    table = ablations.results("short").query("seed == 0").set_index(key)
    assert set(again.index) == set(table.index) and len(again) == 2 * (2 * len(METRICS) + 1)
    value = again.reindex(table.index)
    assert ((table["low"] - 1e-6 <= value) & (value <= table["high"] + 1e-6)).all()
