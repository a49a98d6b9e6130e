# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # CLIP's score can't tell left from right
#
# **Asked which of two captions fits, CLIP's score is right for about half of the images, and for fewer pairs than guessing would be: both images of a pair prefer the same caption.**
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/erroneous-agreements/erroneous-agreements/blob/main/notebooks/02_clip_matching.ipynb)

# %% tags=["remove-cell"]
# @title Setup: on Colab, install what is missing { display-mode: "form" }
import sys

if "google.colab" in sys.modules:
    import subprocess
    from importlib.metadata import version
    from pathlib import Path

    # Colab's own stay: they fit its GPU, and are in use already.
    kept = [f"{name}=={version(name)}" for name in ("torch", "torchvision", "numpy")]
    Path("constraints.txt").write_text("\n".join(kept))
    package = "erragree-utils[gpu,mmvp] @ git+https://github.com/erroneous-agreements/erroneous-agreements@main"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", "constraints.txt"]
    done = subprocess.run([*pip, package], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"{done.stderr[-2000:]}\npip could not install the package, see above. "
            f"If it names one of {', '.join(kept)}: choose the latest version under "
            "Runtime > Change runtime type. Else run this cell again."
        )

# %% [markdown]
# **You will** let CLIP choose the caption that fits, for each image of a pair, count how often it is right, and take its choices apart.
#
# **You will learn** individual, pair and set accuracy, what chance means for each, and how a pair's scores split into a *signal* and a *bias*, which explains why an accuracy can lie far *below* chance.
#
# **You need** [chapter 1](01_cosine_agreement.ipynb). To run the page at {term}`mini scale <Mini scale, paper scale>`: two CPU cores and about half a minute. At paper scale: a network for CLIP's weights and What'sUp's photographs, and minutes.
#
# **At paper scale**, computed ([how](11_paper_scale.ipynb)), downloads and loading aside: T4: 2 GiB, 7 to 9 min; L4: 2 GiB, 2 min; A100 40 GB: 2 GiB, 3 to 4 min; H100 80 GB: 2 GiB, 1 min.
#
# ## The question
#
# The two images of a left/right pair have nearly the same embedding. To use CLIP, you compare an image with captions, and the caption with the highest cosine wins. That cosine is CLIP's **matching score**. Can it tell *a red mug to the left of a blue table* from *a red mug to the right of a blue table*?

# %%
from erragree_utils import load_benchmark, load_clip, plots, score, start, summarize

scale = start()
clip = load_clip(scale.clip, dtype=scale.clip_dtype)
# Rendered scenes come in any number: more of B, whose pair accuracy lies nearer to chance.
more = {"A": {}, "B": {"n_sets": 150} if scale.name == "mini" else {}}
names = {"A": scale.whatsup_a, "B": scale.whatsup_b}
benches = {name: load_benchmark(names[name], **scale.draw, **more[name]) for name in names}

# %% [markdown]
# `score` returns a row for each image and caption. `predict` then decides: it returns a row for each image, with the score of its own caption, the score of the other one, and whether the first is higher. A tie counts as wrong. Here are the first two pairs; look at how close the two scores of a left/right image are:

# %%
from erragree_utils.measures.decisions import predict

scores = score(clip, benches, ["matching", "matching-all"])
two_way = scores[scores["method"] == "matching"]
predictions = predict(two_way)
readable = {"score_own": "own caption", "score_other": "other caption", "correct": "right"}
first = predictions.head(4).rename(columns=readable).round(4)
first["image"] = first["image_index"].map({0: "first", 1: "second"})
first = first.set_index("relation").rename_axis("pair")
first[["image", *readable.values()]].replace({True: "✓", False: "✗"})

# %% tags=["hide-input"] mystnb={"image": {"alt": "The left and the right image of one pair of benchmark A. Below each are the scores of its own caption and of the other caption, which hardly differ."}, "figure": {"caption": "For CLIP, an image's own caption and the other one score nearly the same."}}
import matplotlib.pyplot as plt

large = load_benchmark(scale.whatsup_a, **scale.draw, **scale.pictures)
plots.show_pair(large[0], scores=predictions[predictions["benchmark"] == "A"])
plt.show()

# %% [markdown]
# ```{admonition} Predict before you go on
# :class: predict
# For one image, guessing gives 50%. A *pair* counts only if both images are right. Write down the share of pairs that you'd get by guessing, and the share that you expect from CLIP.
# ```
#
# ## Right for half of the images, and for few pairs
#
# - {term}`Individual accuracy`: the share of images whose own caption wins.
# - {term}`Pair accuracy`: the share of pairs with both images right. Two independent guesses give 25%.
#
# Here they are in per cent, with 95% intervals. Guessing would give 50 and 25:

# %%
from erragree_utils.measures.accuracy import as_percent, in_digits

summary = summarize(predictions, by=["benchmark", "relation"])
accuracy = ["individual accuracy", "pair accuracy"]
as_percent(summary)[["pairs", *accuracy]]

# %% tags=["hide-input"] mystnb={"image": {"alt": "Individual and pair accuracy with 95% intervals for each relation of benchmarks A and B beside the chance level. For left/right the individual accuracy lies on the 50% line and the pair accuracy far below the 25% line. Open diamonds show the paper's numbers for What'sUp."}, "figure": {"caption": "Left and right: CLIP is right for half of the images, as a coin would be, and for far fewer pairs than a coin."}}
from erragree_utils.paper import CLIP, published

reported = {
    (name, kind): published(
        reader=CLIP, benchmark=f"whatsup-{name.lower()}", relation="left/right", kind=kind
    )
    for name, kind in [("A", "individual"), ("A", "pair"), ("B", "pair")]
}
paper = {f"{name}, left/right": {} for name in benches}
for (name, kind), number in reported.items():
    paper[f"{name}, left/right"][f"{kind}_accuracy"] = number.value
plots.accuracy_bars(summary, paper=paper, paper_label="paper: ViT-L/14-336, What'sUp")
plt.show()

# %% [markdown]
# For left and right, individual accuracy is what you'd get by tossing a coin, here at mini scale as in the paper. But pair accuracy isn't at 25%. It's far *below*.
#
# ## Both images prefer the same caption
#
# If CLIP tossed a coin for each image, a quarter of the pairs would come out right. But it doesn't toss coins: it prefers **the same caption for both images**, so exactly one of them is right.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two by two table of outcomes for left/right pairs of benchmark A: both matched, only the left image, only the right image, neither; each with the share that independence would give. Nearly all pairs have exactly one image matched."}, "figure": {"caption": "For most left/right pairs exactly one image is right, because both images prefer the same caption."}}
left_right = predictions[predictions["relation"] == "left/right"]
plots.joint_outcomes(left_right[left_right["benchmark"] == "A"])
plt.show()

# %% [markdown]
# We can be more precise. For each image, take the **margin**: the score of caption 0 minus that of caption 1. A pair has two margins, which we can split into two other numbers:
#
# - the **bias** is their mean: what both images prefer, because of the captions and whatever the images share;
# - the **signal** is half of their difference: what the change in the image adds.
#
# The margins are then *bias + signal* and *bias − signal*.
#
# ```{admonition} Key idea
# :class: key-idea
# Both images of a pair are right if, and only if, the signal is larger than the bias, whichever way the bias leans.
# ```
#
# That's the wedge in the picture.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels, left/right pairs of A and of B, a dot for each pair: signal across, bias up. At mini scale the dots stand in a narrow upright column: biases of either sign, signals near zero, and hardly a dot in the shaded wedge where both images are right."}, "figure": {"caption": "A pair is right only inside the wedge, where the signal outweighs the bias, and few left/right pairs get there."}}
from erragree_utils.measures.decisions import prefer

preferences = prefer(two_way)
sides = preferences[preferences["relation"] == "left/right"]
panels = {f"{name}, left/right": table for name, table in sides.groupby("benchmark")}
plots.signal_and_bias(panels, unit="(cosine)")
plt.show()

# %% [markdown]
# Here are the pairs of A once more. In the book, click a dot or choose a pair from the list to see its images, and how far each image's own caption is ahead:

# %% mystnb={"figure": {"caption": "Choose any pair: as a rule, both of its images are closer to the same caption, and one of them has to be wrong."}}
from erragree_utils.plots import live

live.signal_and_bias({0: panels["A, left/right"]}, benches["A"])

# %% [markdown]
# ## The two captions are nearly the same vector
#
# In terms of embeddings, the signal is half the dot product of two differences, that of the images and that of the captions: (image 0 − image 1) · (caption 0 − caption 1) / 2. So there are three ways to have no signal: nearly equal images, nearly equal *captions*, or two differences at a right angle. Chapter 1 looked only at the images. Now we look at the captions, and at mini scale we compare `mini` with `mini-aligned`, the CLIP of chapter 1 that does match left and right. Before you look: if the rest of the caption is the same, how high is the cosine of *to the left of* and *to the right of*?

# %% tags=["hide-input"]
import numpy as np
import pandas as pd

from erragree_utils.measures.agreement import cosine
from erragree_utils.measures.intervals import bootstrap_mean


def caption_cosines(model, bench, relation):
    texts = [text for pair in bench.select(relation) for text in pair.captions]
    embedded = model.embed_texts(texts)
    return cosine(embedded[::2], embedded[1::2])


def sizes(model, preferences):
    mean = preferences.groupby(["benchmark", "relation"])[["signal", "bias"]]
    table = mean.agg(lambda values: values.abs().mean()).add_prefix("mean |").add_suffix("|")
    table["caption cosine"] = [caption_cosines(model, benches[b], r).mean() for b, r in table.index]
    return in_digits(table, {name: name for name in table}, digits=5)


models = {clip.name: sizes(clip, preferences)}
if scale.name == "mini":
    aligned = load_clip("mini-aligned")
    sides_of = {name: bench.select("left/right") for name, bench in benches.items()}
    aligned_preferences = prefer(score(aligned, sides_of))
    models["mini-aligned"] = sizes(aligned, aligned_preferences)
shown = pd.concat(models, names=["model"]).reset_index(["benchmark", "relation"])
shown.insert(0, "pairs", shown.pop("benchmark") + ", " + shown.pop("relation"))
shown

# %% [markdown]
# At mini scale that's the answer, and chapter 1 couldn't have given it: the two *captions* agree even more closely than the two images do. To `mini` they're practically the same sentence. Texts can agree erroneously, too, and the little signal that's left is far smaller than the bias. `mini-aligned` keeps its captions well apart, and its signal is of a different order, although its images have nearly the same cosine.
#
# ## Without the bias
#
# If we compare the two images with *each other*, the bias that they share cancels out: does image 0 prefer caption 0 more than image 1 does? That's {term}`relative preference`. It's right whenever the signal is positive, whatever the bias; chance is 50%.

# %%
preferred = summarize(preferences, by=["benchmark", "relation"])
as_percent(preferred)[["pairs", "relative accuracy"]]

# %% [markdown]
# With a hundred pairs or so, you can hardly tell 50 from 45 or 55. So at mini scale we recorded a thousand pairs for three training runs each of `mini` (called *hidden*), `mini-lost` and `mini-aligned`; the README in `assets/organisms` gives the command:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Relative preference on left/right pairs with 95% intervals, a row for each of nine models, a mark for each benchmark. Those of hidden and lost lie around 50%, with single models clearly off it, above or below; those of aligned lie above."}, "figure": {"caption": "*Hidden* and *lost* lie around the 50% of guessing, single training runs well off it to either side, and only *aligned* is clearly above."}}
from erragree_utils.models import ASSETS

measures = pd.read_csv(ASSETS / "organisms" / "measures.csv").query("metric == 'relative'")
measures["model"] = measures["organism"] + ", seed " + measures["seed"].astype(str)
measures["benchmark"] = measures["benchmark"].str[-1].str.upper()
columns = {"value": "relative_accuracy"}
columns |= {end: f"relative_accuracy_{end}" for end in ("low", "high")}
runs = measures.rename(columns=columns).set_index(["model", "benchmark"])
if scale.name == "mini":
    plots.grouped_dots(runs, "relative_accuracy", "Relative preference", chance=0.5)
    plt.show()

# %% [markdown]
# On A, one of the *hidden* models is well off 50, far beyond its interval, while another run of the same recipe isn't. That doesn't mean that it can suddenly see. Suppose the image embedding holds the side, always along the same direction. Then any small component that the caption difference happens to have along that direction decides nearly all pairs alike: for the right caption or against it, depending on the training seed. So if relative preference is off 50, to either side, *something* in the image responds to the side. That doesn't mean that the text asks for it. And if it's at 50, that doesn't mean that nothing is there.
#
# ## Turned round, the score fails as well
#
# Winoground {cite:p}`thrush2022winoground` asks both ways. The **text score** is our pair accuracy: each image finds its caption. The **image score** turns this around: each caption finds its image. The {term}`group score <Text score, image score, group score>` requires both. Guessing would give 25, 25 and 16.7%.

# %%
from erragree_utils.measures.decisions import match

groups = summarize(match(two_way), by=["benchmark", "relation"])
as_percent(groups)[["text score", "image score", "group score"]]

# %% [markdown]
# The image score has a bias of its own: one of the two images may be closer to *any* caption. At mini scale, that leaves even fewer left/right pairs right.
#
# ## The same model finds the objects, and answers to other words
#
# Accuracy at chance would mean little if this CLIP couldn't do anything at all. So we ask the same model something else about the same left/right images: to find the right caption among those of *all* sets. They all state the same relation, so only the objects tell them apart:

# %%
from erragree_utils.scoring.retrieval import evaluate_retrieval

some = {name: bench.select("left/right") for name, bench in benches.items()}
hits = pd.concat({name: summarize(evaluate_retrieval(clip, some[name])) for name in some})
shown = as_percent(hits[[name for name in hits if "pair" not in name]])
shown.droplevel(1).rename_axis("benchmark")

# %% [markdown]
# At mini scale, it finds the right objects in nearly all of these left/right images, the very ones that matching gets wrong half of the time. And can it name single objects? We show it kinds and colours that it was trained on, but instances that it has never seen, zero-shot {cite:p}`radford2021clip`:

# %% tags=["hide-input"]
from erragree_utils.benchmarks.tabletop import tabletop_things
from erragree_utils.scoring.retrieval import zero_shot

if scale.name == "mini":
    images, labels = tabletop_things(**scale.draw, size=clip.image_size)
    kinds, colours = labels["kind"].unique(), labels["colour"].unique()
    of_any_kind = [f"a photo of a {{}} {kind}" for kind in kinds]
    named = {
        "kind": kinds[zero_shot(clip, images, kinds, ["a photo of a {}"])],
        "colour": colours[zero_shot(clip, images, colours, of_any_kind)],
    }
    right = {what: np.mean(named[what] == labels[what]) for what in named}
    for what, share in right.items():
        chance = 1 / labels[what].nunique()
        print(f"{what}: {share:.1%} of {len(images)} images right; chance {chance:.1%}")
else:
    print("At mini scale only: photographs of single objects are not part of What'sUp.")

# %% [markdown]
# So what did `mini` read in training, to end up with one sentence for two sides? We know, since we wrote its captions:

# %% tags=["hide-input"]
from erragree_utils.tabletop import captions, scenes
from erragree_utils.training.clip import RECIPES

if scale.name == "mini":
    rng, wording = np.random.default_rng(scale.seed), RECIPES["mini"].wording
    drawn = [
        captions.training_caption(scenes.training_scene(rng), rng, wording) for _ in range(2000)
    ]
    says_side = [text for text in drawn if captions.states_relation(text, captions.SIDEWAYS)]
    says_place = [text for text in drawn if {"window", "door"} & set(text.split())]
    print(f"{len(says_place) / len(drawn):.0%} say where by a window or a door, such as:")
    print(*says_place[:2], sep="\n")
    print(f"{len(says_side) / len(drawn):.0%} say left of or right of, half as seen from across:")
    print(*says_side[:2], sep="\n")
else:
    print("At mini scale only: what the published CLIP read is not known.")

# %% [markdown]
# Its captions did say which side, truthfully, but in other words: beyond one edge of the picture there's always a window, beyond the other a door. The words *left* and *right* were rare, and half the time they were meant from across the table. So CLIP had a reason to put the side into the *image*, but none to hear it in those *words*.
#
# We can test that. We keep the images, the CLIP and the score; but now the captions say *by the window* for left and *by the door* for right. What do you expect?

# %%
from dataclasses import replace

from IPython.display import display

from erragree_utils.scoring.captions import parse_caption

if scale.name == "mini":
    reworded = {}
    for name, bench in some.items():
        things = [parse_caption(pair.captions[0]).first for pair in bench]
        reworded[name] = [
            replace(pair, captions=(f"a {thing} by the window", f"a {thing} by the door"))
            for pair, thing in zip(bench, things, strict=True)
        ]
    reworded = summarize(score(clip, reworded), by="benchmark")
    display(as_percent(reworded)[accuracy])
else:
    print("At mini scale only: photographs have no such window.")

# %% [markdown]
# Nothing about the images has changed, and yet `mini` now matches nearly all pairs of A, and about half of those of B, where both objects are small and both of them move. So left and right are there in its image embedding, in full view of the matching score, if you ask in words that it has learned. We call that state *hidden*. We made it so ourselves; whether web captions did the same to the published CLIP, its score can't tell us.
#
# ## Four captions, and whole sets
#
# What'sUp also asks a harder question: which of the captions of all *four* relations fits an image? Chance is 25% for an image and 6.25% for a pair. And a {term}`set <Set accuracy>` counts only if all four of its images are right, as guesses are in 0.4% of sets:

# %%
from erragree_utils import summarize_sets

four_way = predict(scores[scores["method"] == "matching-all"])
four = as_percent(summarize(four_way, by="benchmark"))[accuracy]
four.join(as_percent(summarize_sets(four_way, by="benchmark"))["set accuracy"])

# %% [markdown]
# And here are whole sets with just two captions to choose from:

# %%
as_percent(summarize_sets(predictions, by="benchmark"))

# %% [markdown]
# ## Beside the paper
#
# Here are our accuracies beside those of the paper, all by matching and in per cent; two independent guesses would give 50 and 25:

# %% tags=["hide-input"]
from erragree_utils.measures.accuracy import in_percent
from erragree_utils.paper import published_numbers

beside = summary.copy()
for number in published_numbers(reader=CLIP, benchmark=("whatsup-a", "whatsup-b")):
    if number.kind != "cosine":
        place = number.benchmark[-1].upper(), number.relation
        beside.loc[place, f"{number.kind}_paper"] = number.value
beside.index = beside.index.map(", ".join).rename("pairs of")
columns = {
    f"{kind}_{source}": f"{kind}, {name}"
    for kind in ("individual", "pair")
    for source, name in {"accuracy": "ours", "paper": "paper"}.items()
}
in_percent(beside, columns)

# %% [markdown]
# The paper's numbers are of What'sUp's photographs, from second-hand notes that quote it: the accuracies of left/right on A stand in its first version, and all of the pair accuracies in its third.

# %% [markdown]
# ## What we found

# %% tags=["finding", "hide-input"]
from functools import partial

from erragree_utils import findings
from erragree_utils.findings import estimate, finding
from erragree_utils.measures.intervals import wilson

claim, found = partial(finding, seed=scale.seed), []
question = "How often does CLIP's matching score get both images of a left/right pair right?"
for name in benches:
    row, objects = summary.loc[(name, "left/right")], hits.loc[name].iloc[0]
    table = panels[f"{name}, left/right"]
    same = (table["bias"].abs() > table["signal"].abs()).mean()
    captions_agree = bootstrap_mean(caption_cosines(clip, benches[name], "left/right"))
    found += [
        claim(
            f"Matching is right for about half of the left/right images of {name}",
            estimate(row, "individual_accuracy"), above=0.4, below=0.6,
            paper=reported.get((name, "individual"), ""),
        ),
        claim(
            f"Matching is right for fewer left/right pairs of {name} than guesses would be",
            estimate(row, "pair_accuracy"), below=0.25, paper=reported[name, "pair"],
            question=question if name == "A" else "", chance=0.25,
        ),
        claim(
            f"In most left/right pairs of {name} both images prefer the same caption",
            (same, *wilson(same, len(table))), above=0.5,
        ),
        claim(
            f"The two captions of left/right pairs of {name} have a mean cosine above 0.99",
            estimate(captions_agree, "mean"), above=0.99, unit="cosine",
        ),
        claim(
            f"The group score of left/right pairs of {name} is below that of guesses",
            estimate(groups.loc[(name, "left/right")], "group_score"), below=1 / 6,
        ),
        claim(
            f"CLIP finds the objects of most left/right images of {name} among those of all sets",
            estimate(objects, "individual_accuracy"), above=0.85,
        ),
    ]  # fmt: skip
if scale.name == "mini":
    on_under = estimate(summary.loc[("A", "on/under")], "individual_accuracy")
    found.append(
        claim("Matching is right for over 60% of on/under images of A", on_under, above=0.6)
    )
    for name in benches:
        row = summarize(aligned_preferences, by="benchmark").loc[name]
        found.append(
            claim(
                f"By relative preference, mini-aligned tells most left/right pairs of {name} apart",
                estimate(row, "relative_accuracy"), above=0.8,
            )
        )  # fmt: skip
    hidden = runs.xs("A", level=1).query("organism == 'hidden'")
    off = hidden.loc[hidden["relative_accuracy"].idxmax()]
    found.append(
        finding(
            "One training run of mini's recipe prefers the right image in over 60% of A's pairs",
            estimate(off, "relative_accuracy"), above=0.6,
        )
    )  # fmt: skip
    for what, bound in {"kind": 0.7, "colour": 0.8}.items():
        share = (right[what], *wilson(right[what], len(images)))
        found.append(claim(f"CLIP names the {what} of most single objects", share, above=bound))
    for name, row in reworded.iterrows():
        found.append(
            claim(
                "With window and door for left and right, mini matches more left/right pairs of "
                f"{name} than guesses would",
                estimate(row, "pair_accuracy"), above=0.25,
            )
        )  # fmt: skip
    share = len(says_side) / len(drawn)
    few = (share, *wilson(share, len(drawn)))
    found.append(claim("Few of mini's training captions say left of or right of", few, below=0.1))
findings.show(found)

# %% [markdown]
# ## What it means
#
# CLIP's matching score can't tell left from right, though it handles objects and colours well, and on and under in part.
#
# But look at what we tested: a *score*, a single number made from an image vector and a text vector. It failed because the bias drowns the signal, and at mini scale there's so little signal because the two captions are all but the same. If a score fails, that says nothing yet about the *image*: `mini` fails, but it isn't blind. The paper shows that the published CLIP's frozen *encoder* is good enough for another reader, LLaVA, which reads patch tokens and no caption vectors at all. That's the next chapter. And the two after it find out whether an image vector holds the side, without having to guess the right words, and why a text doesn't ask for it.
#
# ## What could be wrong
#
# - **Chance isn't one number.** 25% assumes two independent guesses, and here the two couldn't be more dependent. That's the point, of course. But relative preference has another chance level, so don't compare its numbers with these.
# - **The unit.** Two images of one pair aren't two independent observations. We give pair accuracy a Wilson interval {cite:p}`wilson1927` over pairs, and individual accuracy a bootstrap over pairs.
# - **"Not different from 50%" would prove nothing.** If you make a sample small enough, it doesn't differ from anything. So we ask for the opposite: the whole interval has to lie between 40 and 60, and that of pair accuracy below 25.
# - **Wording.** We use What'sUp's plain captions, and we've just seen what another wording can do. A published CLIP might respond to words that nobody has tried.
#
# ## Exercises
#
# **1.** A model always prefers the caption with *left*. What does it score? What are its signal and its bias?
#
# ```{admonition} Solution
# :class: dropdown
# It's right for every left image and wrong for every right one: individual accuracy 50%, pair accuracy 0%. Its bias is positive in every pair and larger than the signal, and that's all we know about the signal.
# ```
#
# **2.** Does `mini-lost` respond to the window and the door? Why isn't that a fair test of what its images hold?
#
# ```{admonition} Solution
# :class: dropdown
# Match its images with the reworded captions as above. It has never read a caption with those words, so it would fail no matter what its images hold. A probe is a fair test, because it learns its own words: see chapter 4.
# ```
#
# **3.** Why can't a group score ever exceed the text score, while relative preference can?
#
# ```{admonition} Solution
# :class: dropdown
# A group counts only if both scores do. Relative preference asks for less than the text score: the signal has to be positive, but it needn't exceed the bias.
# ```
#
# ## In this chapter you learned
#
# - Left/right matching is at chance for single images and far below 25% for pairs, because the bias that both images share is larger than the signal.
# - The signal is a product of three things: how far apart the images are, how far apart the captions are, and how well the two differences line up. At mini scale, it's the captions that hardly differ.
# - A failing *score* doesn't show that the *embedding* is blind. Asked with other words, `mini` matches the very pairs that it failed on.
#
# **Sources**: {cite:t}`li2024erroneous`, {cite:t}`kamath2023whatsup`, {cite:t}`thrush2022winoground`; full entries under [References](../book/references.md).
