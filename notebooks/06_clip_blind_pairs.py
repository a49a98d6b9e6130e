# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Pairs that CLIP takes for one
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/erroneous-agreements/erroneous-agreements/blob/main/notebooks/06_clip_blind_pairs.ipynb)

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
# **You will** mine pairs of images that CLIP takes for nearly the same, ask LLaVA about them, and see it fail where in chapter 3 it succeeded.
#
# **You will learn** how MMVP was made, what its nine visual patterns are, and how to tell a model that does not see from one that does not say.
#
# **You need** [chapter 3](03_same_encoder_new_reader.ipynb). To run the page at {term}`mini scale <Mini scale, paper scale>`: two CPU cores and less than a minute. At paper scale: a GPU of 15 GB or more, and network for weights and images.
#
# **At paper scale**, computed ([how](11_paper_scale.ipynb)), downloads and loading aside: T4: 10 GiB, 15 to 19 min; L4: 19 GiB, 7 to 9 min; A100 40 GB: 19 GiB, 4 to 5 min; H100 80 GB: 19 GiB, 1 to 2 min.
#
# ## The question
#
# LLaVA answers left/right questions about pairs with a cosine above 0.99. Then CLIP-blind pairs should not trouble it either. But {term}`MMVP`, a benchmark made of such pairs, troubles all models that its authors tested {cite:p}`tong2024eyes`. Does LLaVA fail there because CLIP is blind after all?
#
# ## How such pairs are found
#
# {cite:t}`tong2024eyes` took a large collection of images and two encoders: CLIP, and DINOv2 {cite:p}`oquab2024dinov2`, which never saw a word. A {term}`CLIP-blind pair` is one that CLIP takes for nearly the same image, cosine above 0.95, and the vision-only encoder does not, cosine below 0.6. People then looked at the pairs, described the difference and wrote a question about it.
#
# At mini scale the collection is rendered and the vision-only encoder is a small one that was trained on tabletop pictures without captions, by telling views of one picture from all others. Every candidate differs in exactly one respect, so its question is known. The candidates that pass both thresholds are `tabletop-mmvp`. At paper scale the pairs are MMVP's own, and the encoder is DINOv2.

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from erragree_utils import load_benchmark, load_clip, load_mllm, plots, start, summarize
from erragree_utils.measures.accuracy import as_percent
from erragree_utils.measures.comparison import as_points, compare
from erragree_utils.models.vision import load_vision

scale = start()
clip = load_clip(scale.clip, dtype=scale.clip_dtype)
vision = load_vision(scale.vision)
mllm = load_mllm(scale.mllm)
pairs = load_benchmark(scale.mmvp, **scale.draw)
warnings.filterwarnings("ignore", "texts with words")  # told below, where ties are counted
print(f"{len(pairs)} pairs\n{pairs.source}")

# %% [markdown]
# At mini scale the CLIP of this chapter and of chapters 7 and 8 is `"mini-tower"`, as in [chapter 3](03_same_encoder_new_reader.ipynb): the one whose vision tower the mini LLaVA reads, and by which these pairs were mined. It isn't the `"mini"` of chapters 1, 2, 4 and 5.
#
# Let us find them again. All images of the benchmark in one heap, shuffled; every pair in it is looked at, not only those that belong together:

# %%
from erragree_utils.measures.mining import mine_blind_pairs

owners = [(pair.pair_id, i) for pair in pairs for i in (0, 1)]
order = np.random.default_rng(0).permutation(len(owners))
heap = [image for pair in pairs for image in pair.images]
heap = [heap[place] for place in order]
rows = {"clip": clip.embed_images(heap), "vision": vision.embed_images(heap)}
above, below = scale.blind_above, scale.blind_below
mined = mine_blind_pairs(rows["clip"], rows["vision"], above, below, k=None)

names = np.array([owners[place][0] for place in order])
mined["together"] = names[mined["i"]] == names[mined["j"]]
print(f"{len(heap) * (len(heap) - 1) // 2} pairs of images, {len(mined)} of them CLIP-blind")
print(f"{mined['together'].sum()} of the {len(pairs)} pairs of the benchmark are among them")
mined.head(8).round(3)

# %% [markdown]
# The search compares blocks of images with blocks of images and never holds all cosines at once; 100,000 images fit into 2 GB of memory. (At paper scale expect fewer: MMVP was mined with its authors' versions of both encoders, and its published list holds what people kept.)
#
# ## What they look like
#
# {cite:t}`tong2024eyes` sorted what such pairs differ in into nine visual patterns. Of MMVP's pairs the pattern was not published. So wherever this page speaks of patterns at paper scale, it takes the pairs of MMVP-VLM, by the same authors: 15 of each pattern, with a statement for each image and no question. At mini scale the same pairs have patterns and questions.

# %%
from erragree_utils.measures.agreement import cosine

if scale.name == "mini":
    patterned, embedded = pairs, [table[np.argsort(order)] for table in rows.values()]
else:
    patterned = load_benchmark(scale.mmvp_vlm)
    every = [image for pair in patterned for image in pair.images]
    embedded = [model.embed_images(every) for model in (clip, vision)]
of_clip, of_vision = (table.reshape(len(patterned), 2, -1) for table in embedded)
cosines = pd.DataFrame({
    "relation": [pair.relation for pair in patterned],  # the pattern
    "clip_cosine": cosine(of_clip[:, 0], of_clip[:, 1]),
    "vision_cosine": cosine(of_vision[:, 0], of_vision[:, 1]),
}, index=[pair.pair_id for pair in patterned])  # fmt: skip
cosines.groupby("relation", sort=False).mean().round(3)

# %% mystnb={"image": {"alt": "Nine pairs of images, one for each visual pattern, each pair side by side with its two cosines above and its two answers below. Within a pair the images look alike but for one detail."}}
firsts = [patterned.select(pattern)[0] for pattern in patterned.relations]
if scale.name == "mini":  # the same, drawn larger than the models see them
    firsts = load_benchmark(scale.mmvp, n_pairs=1, size=224, supersample=3, **scale.draw)
notes = [
    "{}\nCLIP {:.3f}, vision-only {:.2f}".format(
        pair.relation, *cosines.loc[pair.pair_id, ["clip_cosine", "vision_cosine"]]
    )
    for pair in firsts
]
plots.question_pairs(firsts, notes)
plt.show()

# %% [markdown]
# ```{admonition} Before you go on
# :class: tip
# Of which pattern will LLaVA get most pairs right, and of which hardly any? And CLIP, which has to match each image with its answer as a statement? The table shows how many of MMVP's pairs the real models answer rightly, by second-hand notes that quote {cite:t}`li2024erroneous`.
# ```

# %%
from erragree_utils.paper import published_table

published_table(benchmark="mmvp", kind="pair", methods=("matching", "greedy"))

# %% mystnb={"image": {"alt": "Scatter plot: cosine under CLIP against cosine under the vision-only encoder. The pairs of the benchmark, coloured by visual pattern, lie at the right edge, above a CLIP cosine of 0.95, and below the threshold of the vision-only encoder. Random pairs of images lie to the lower left."}}
random = pd.DataFrame(
    {
        "clip_cosine": (rows["clip"][::2] * rows["clip"][1::2]).sum(axis=1),
        "vision_cosine": (rows["vision"][::2] * rows["vision"][1::2]).sum(axis=1),
    }
)
groups = {"random pairs of images": random} | dict(list(cosines.groupby("relation", sort=False)))
plots.cosine_scatter(groups, clip_above=above, vision_below=below)
plt.show()

# %% [markdown]
# ## Who fails where
#
# LLaVA is asked each pair's question about each image, greedily, and a strict parser reads the answer. CLIP matches each image with the two answers as statements, such as “the blue mug is open”. Both images right, or the pair is wrong; chance is 25% for both.

# %%
from erragree_utils import evaluate

tables = {
    "CLIP": evaluate({"CLIP": clip}, pairs, "matching"),
    "LLaVA": evaluate({"LLaVA": mllm}, pairs, "greedy"),
}
found = pd.concat(tables.values())
as_percent(summarize(found, by="model")).drop(columns=["individual chance"])

# %% [markdown]
# Before you see by what they fail: how do *you* do? Each card asks which of two pictures fits an answer; then it tells what the two models make of the pair. (At mini scale they see the pictures much smaller than you do.)

# %%
from erragree_utils.plots import live

live.quiz(firsts if scale.name == "mini" else pairs, tables)

# %% [markdown]
# And by pattern. At mini scale these are the same answers. At paper scale MMVP-VLM's pairs have no question to answer, so both readers choose between the two statements: CLIP by its matching, LLaVA by VQAScore.

# %%
sorted_out = tables
if scale.name != "mini":
    sorted_out = {
        "CLIP": evaluate({"CLIP": clip}, patterned, "matching"),
        "LLaVA": evaluate({"LLaVA": mllm}, patterned, "vqascore"),
    }
by_pattern = summarize(pd.concat(sorted_out.values()), by=["relation", "model"])
shown = as_percent(by_pattern)["pair accuracy"].unstack("model")
tied = sorted_out["CLIP"]["score_own"] == sorted_out["CLIP"]["score_other"]
ties = tied.groupby(sorted_out["CLIP"]["relation"]).mean()
shown.loc[list(patterned.relations)].join((100 * ties).round().rename("CLIP: ties, %"))

# %% mystnb={"image": {"alt": "Pair accuracy with 95% intervals for each of the nine visual patterns, one mark for CLIP and one for LLaVA, beside the chance level of 25%."}}
plots.grouped_dots(by_pattern, "pair_accuracy", "Pair accuracy", chance=0.25)
plt.show()

# %% [markdown]
# Mind the ties at mini scale. The mini CLIP's captions never spoke of states, parts or letters, so it has no words for many of these answers: both statements become the same tokens, score the same, and a tie is not correct. That is ignorance of words, not blindness, and no comparison with the real CLIP.
#
# ## What a failure looks like
#
# A pair fails in two ways: both images get the same answer, or each gets the other's. Which is it?

# %%
wide = tables["LLaVA"].pivot(index="pair_id", columns="image_index")
llava, read = wide["correct"], wide["parsed"].all(axis=1)
kinds = {
    "both right": llava[0] & llava[1],
    "the same answer twice": (llava[0] ^ llava[1]) & read,
    "each the other's": ~llava[0] & ~llava[1] & read,
    "an answer that names no one option": ~read,
}
share = pd.Series({name: mask.mean() for name, mask in kinds.items()})
(100 * share).round(1)

# %% [markdown]
# At mini scale nearly all failures are of the first kind. And which answer is it that both images get? There we know what the model was trained on: for every question type one answer was right in 85% of the cases, as “yes” and “2” are in real visual question answering {cite:p}`goyal2017making`. Image 0 of each pair has that common answer, image 1 the rare one.

# %%
if scale.name == "mini":
    answers = {0: "common answer is right", 1: "rare answer is right"}
    images = tables["LLaVA"].assign(image=lambda t: t["image_index"].map(answers))
    overall = summarize(images, by="image")["individual_accuracy"]
    print((100 * overall).round(1).to_dict())
else:
    print("At mini scale only: how common MMVP's answers were in training, nobody has counted.")

# %% mystnb={"image": {"alt": "For each visual pattern two marks with 95% intervals: the share of right answers among images where the common answer is right, and among images where the rare one is. For most patterns the first is near 100% and the second far lower."}}
if scale.name == "mini":
    by_image = summarize(images, by=["relation", "image"])
    plots.grouped_dots(by_image, "individual_accuracy", "Images answered rightly")
    plt.show()

# %% [markdown]
# This is why the questions are hard for the mini LLaVA, and we made it so, by an imbalance that real training data have as well: when the picture says little, the habit speaks. The failure here is in part a habit of answering, not of seeing. How large a part?
#
# ## Does the cosine tell who fails?
#
# Two questions in one. Between patterns: are those with higher cosines answered less often? And within a pattern: does its cosine tell whether a pair fails?
#
# Success is a coarse measure, so we also look at what lies beneath it: how far the two images move the answer apart, in log-likelihoods of the two options. This *signal* of a pair gets its definition in [chapter 7](07_contrastive_decoding.ipynb). Patterns differ in both, so within them we compare ranks. A weak relation needs many pairs: at mini scale we take a second draw of as many. At paper scale the pairs are MMVP-VLM's, and the signal is that of P(Yes) for the two statements.

# %%
from erragree_utils import score
from erragree_utils.measures.correlation import between_and_within
from erragree_utils.measures.decisions import predict, prefer

draws, alike, method = {"first": patterned}, [cosines["clip_cosine"]], "vqascore"
if scale.name == "mini":
    method = "question-options"
    draws["second"] = load_benchmark(scale.mmvp, seed=16 if scale.seed % 2 else 15)
    embedded = clip.embed_images([image for pair in draws["second"] for image in pair.images])
    alike.append(cosine(embedded[::2], embedded[1::2]))
scores, pair_of = score(mllm, draws, method), ["benchmark", "pair_id"]
each = prefer(scores).set_index(pair_of)[["relation", "signal"]]
each["right"] = predict(scores).groupby(pair_of)["correct"].all().astype(float)
each["cosine"] = np.concatenate(alike)

# %%
relations = pd.concat({
    f"cosine, {name}": between_and_within(each, "cosine", name, by="relation")
    for name in ("right", "signal")
})  # fmt: skip
print(f"{len(each)} pairs; intervals by bootstrap over the pairs within each pattern")
relations.round(2)

# %% [markdown]
# At mini scale, between these nine patterns, higher cosines go along with failure, as erroneous agreement would have it: small differences are hard. (The interval is over pairs of *these* patterns. Nine are too few to say the same of patterns in general.) Within a pattern the cosine still tells a little of the *signal*: the more alike the mini CLIP finds the two images, the less they move the answer apart. It is a weak relation, and of success the cosine tells, if anything, less. So there the cosine is not empty beyond 0.95. It follows how much of the difference is left, and says little about whether the reader gets by with it.
#
# ## Is the gap between the readers real?

# %%
gaps = {"all pairs": compare(*tables.values())}
told = ties.index[ties == 0]
if len(told):
    of_told = (table[table["relation"].isin(told)] for table in sorted_out.values())
    whose = "" if scale.name == "mini" else " (MMVP-VLM)"
    gaps[f"patterns without ties{whose}"] = compare(*of_told)
gaps = pd.DataFrame(gaps).T
as_points(gaps).rename(columns={"only plain": "only CLIP", "only this": "only LLaVA"})

# %% [markdown]
# ## Beside the paper
#
# Pair accuracy on MMVP, where independent guesses give 25, from second-hand notes that quote {cite:t}`li2024erroneous` and from a figure of {cite:t}`tong2024eyes`:

# %%
published_table(benchmark="mmvp", kind="pair")

# %% [markdown]
# Our answers are greedy and strictly parsed. The mini LLaVA is better at its pairs than the real one is at MMVP's, and worse than it is itself at left and right. What this page found:

# %% tags=["finding", "hide-input"]
from functools import partial

from erragree_utils import findings
from erragree_utils.findings import estimate, finding
from erragree_utils.measures.intervals import bootstrap_mean, wilson
from erragree_utils.paper import published

claim = partial(finding, seed=scale.seed)
of_llava = summarize(tables["LLaVA"]).loc["all"]
found_here = [
    claim(
        "LLaVA answers fewer than three quarters of the CLIP-blind pairs rightly",
        estimate(of_llava, "pair_accuracy"), below=0.75,
        paper=published(
            reader="LLaVA-1.5-7B", benchmark="mmvp", kind="pair", methods="greedy"
        ),
    )
]  # fmt: skip
if scale.name == "mini":
    of_each = by_pattern.xs("LLaVA", level="model")
    failed = int((1 - llava.all(axis=1)).sum())
    one_answer = share["the same answer twice"] * len(llava) / failed
    gained = bootstrap_mean(llava[0].astype(float) - llava[1])
    found_here += [
        claim(
            "LLaVA answers more than 75% of the pairs of the pattern colour rightly",
            estimate(of_each.loc["colour"], "pair_accuracy"), above=0.75,
        ),
        claim(
            "LLaVA answers fewer than 40% of the pairs of the pattern orientation rightly",
            estimate(of_each.loc["orientation"], "pair_accuracy"), below=0.4,
        ),
        claim(
            "In more than nine of ten pairs that fail, both images get the same answer",
            (one_answer, *wilson(one_answer, failed)), above=0.9,
        ),
        claim(
            "Images with the common answer are answered rightly more often, by over 20 points",
            estimate(gained, "mean"), above=0.2, unit="points",
        ),
        claim(
            "Where CLIP has words for both answers, LLaVA is ahead of it by over 20 points",
            estimate(gaps.loc["patterns without ties"], "difference"), above=0.2, unit="points",
        ),
        claim(
            "In these nine patterns, mean cosine and pair accuracy correlate below -0.5",
            tuple(relations.loc[("cosine, right", "between")]), below=-0.5, unit="",
        ),
        claim(
            "Within patterns, cosine and signal have a negative rank correlation",
            tuple(relations.loc[("cosine, signal", "within")]), below=0, unit="",
        ),
        claim(
            "Within patterns, the rank correlation of cosine and success is from -0.3 to 0.1",
            tuple(relations.loc[("cosine, right", "within")]), above=-0.3, below=0.1, unit="",
        ),
    ]  # fmt: skip
findings.show(found_here)

# %% [markdown]
# ## What it means
#
# LLaVA does fail on CLIP-blind pairs. The mini LLaVA fails unevenly: colour is nearly solved, orientation hardly at all, and the other patterns lie between. It reads the same encoder in all cases, and all rendered pairs have a cosine above 0.95. Of their nine patterns, those with higher cosines tend to be the harder ones. Within a pattern a higher cosine means a slightly weaker signal, and hardly tells which pairs fail.
#
# And at mini scale the failures have a shape. Both images get the same answer, and it is the answer that was common in training. That is what not seeing looks like, and it is also what not trusting one's eyes looks like. Accuracy cannot tell the two apart. The next two chapters can: [chapter 7](07_contrastive_decoding.ipynb) turns the habit down, [chapter 8](08_two_images.ipynb) compares what the model says about the two images.
#
# ## What could be wrong
#
# - **A built-in habit.** We chose the mini model's 85%. Real training data are imbalanced, too, but by how much for each of MMVP's questions nobody has counted. The mini world shows that an imbalance *can* produce this picture, not that it does in LLaVA-1.5.
# - **Rendered differences.** MMVP's pairs were found among photographs and differ in much besides the question. Ours differ in one respect alone, and are mined among candidates made for it.
# - **Mining favours an encoder's taste.** Pairs that pass depend on both encoders. The mini vision-only encoder was trained on near-duplicates of the same kinds, so that it would keep them apart. It is a filter here, not a competitor.
# - **Words.** The mini CLIP lacks words for several patterns (the ties above). For the rest its matching can be compared with LLaVA's answers, with the reservations of chapter 3 about the two interfaces.
# - **Statements are no questions.** At paper scale the tables by pattern are of other pairs, and of another protocol, than MMVP's answers. MMVP-VLM's own accuracy goes from text to image besides; the study of [Paper scale](11_paper_scale.ipynb) has it.
# - **Questions differ between patterns**, in length, in words, in the number of kinds they are about. A pattern's accuracy is that of its questions.
#
# ## Exercises
#
# **1.** A model answers every question with the answer that was common in its training. What are its individual and its pair accuracy on the mini pairs?
#
# ```{admonition} Solution
# :class: dropdown
# 50% and 0%: it is right for image 0 of each pair and for no image 1. A benchmark of single images with the imbalance of the training would have given it 85%.
# ```
#
# **2.** Load candidates that were not mined (`load_benchmark("tabletop-mmvp", mined=False)`). Does the mini LLaVA do better on them?
#
# ```{admonition} Solution
# :class: dropdown
#
#     candidates = load_benchmark("tabletop-mmvp", mined=False)
#     summarize(evaluate(load_mllm("mini"), candidates, "greedy"))
#
# If CLIP's cosine decided what LLaVA can answer, it should do much better on them. Compare the intervals before you conclude.
# ```
#
# **3.** Does the *vision-only* encoder's cosine tell who fails? Use `cosines` and `sorted_out`.
#
# ```{admonition} Solution
# :class: dropdown
#
#     right = sorted_out["LLaVA"].groupby("pair_id")["correct"].all()
#     joined = cosines.assign(right=right.astype(float))
#     between_and_within(joined, "vision_cosine", "right", by="relation")
#
# Compare within patterns, too: between patterns, cosine and difficulty differ for many reasons at once.
# ```
#
# ## In this chapter you learned
#
# - A CLIP-blind pair is mined with two encoders; MMVP asks a question about each.
# - LLaVA fails on many of them; the mini LLaVA by giving both images one answer, the usual one.
# - Accuracy alone cannot tell a model that does not see from one that does not say what it sees.
#
# **Sources**: {cite:t}`tong2024eyes`, {cite:t}`oquab2024dinov2`, {cite:t}`li2024erroneous`, {cite:t}`goyal2017making`; full entries under [References](../book/references.md).
