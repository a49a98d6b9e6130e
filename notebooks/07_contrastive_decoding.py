# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Listening less to itself
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/erroneous-agreements/erroneous-agreements/blob/main/notebooks/07_contrastive_decoding.ipynb)

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
# **You will** decode LLaVA's answers so that they depend more on the image, and find out how much of its failure on CLIP-blind pairs that repairs.
#
# **You will learn** three ways of contrastive decoding, how to choose their strength without cheating, and how to split what a model says about a pair into a signal and a bias.
#
# **You need** [chapter 6](06_clip_blind_pairs.ipynb). To run the page at {term}`mini scale <Mini scale, paper scale>`: two CPU cores and about a minute. At paper scale: a GPU of 15 GB or more, and network for weights and images.
#
# **At paper scale**, computed ([how](11_paper_scale.ipynb)), downloads and loading aside: T4: 10 GiB, 41 to 52 min; L4: 19 GiB, 23 to 29 min; A100 40 GB: 19 GiB, 9 to 11 min; H100 80 GB: 19 GiB, 3 min.
#
# ## The question
#
# On CLIP-blind pairs the mini LLaVA often gives both images the same answer: the one that its training made likely. A language model writes the next word by what it has seen *and* by what usually comes next. If the second outweighs the first, it should help to take some of it away.
#
# ```{admonition} Before you go on
# :class: tip
# The table shows how many of MMVP's pairs LLaVA-1.5-7B answers rightly, greedily and with M3ID (second-hand notes that quote {cite:t}`li2024erroneous`). At mini scale every pattern has one answer that was right in 85% of the training; for the published model nobody has counted. Will decoding that subtracts what the model says *without* the image repair most of the errors, some, or none?
# ```

# %%
from erragree_utils.paper import LLAVA, LLAVA_1_5, published, published_table

published_table(benchmark="mmvp", kind="pair", reader=LLAVA)

# %% [markdown]
# ## Two streams
#
# All three methods run the model twice: once as usual, once with less of the image. A token that stays likely without the picture comes from the language prior, and is held against the first stream. (VCD keeps a noisy picture, so its second stream is not all prior.) With logits $\ell$ of the first stream, $\ell'$ of the second, and a strength $s$:
#
# $$\ell + s\,(\ell - \ell')$$
#
# | method | second stream | strength, published defaults |
# |---|---|---|
# | {term}`VCD` {cite:p}`leng2024vcd` | the image under noise | $s = \alpha = 1$; only tokens with at least $\beta = 0.1$ of the likeliest one's probability |
# | {term}`M3ID` {cite:p}`favero2024m3id` | no image | $s$ grows with each token; skipped where the likeliest token has a probability of 0.3 or more |
# | text contrast | no image | $s = 1$ for every token: the plain baseline |
#
# The paper's own settings for M3ID we have not found; for one-word answers we take the value that its authors give for questions, `t0=10`.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from erragree_utils import load_benchmark, load_mllm, plots, start, summarize
from erragree_utils.decoding import TextContrast
from erragree_utils.measures.accuracy import as_percent
from erragree_utils.measures.comparison import as_points, choose_held_out, compare_each
from erragree_utils.measures.intervals import bootstrap

scale = start()
mllm = load_mllm(scale.mllm)
pairs = load_benchmark(scale.mmvp, **scale.draw)
print(mllm, pairs, sep="\n")

# %% [markdown]
# ## As published
#
# Each image is asked the question of its pair, and the answer is written token by token. A strict parser reads it: an answer that names no option or both counts as wrong.

# %%
from erragree_utils import evaluate

methods = {"greedy": "greedy", "VCD": "vcd", "M3ID": "m3id", "text contrast": "text-contrast"}
written = evaluate(mllm, pairs, methods)
table = as_percent(summarize(written, by="method"))
table = table[["pairs", "individual accuracy", "pair accuracy"]]
table["not parsed"] = (~written["parsed"]).groupby(written["method"]).sum()
table

# %% [markdown]
# Each against greedy, on the same pairs: the difference in {term}`pair accuracy <Pair accuracy>` with its interval, the pairs that one of them alone gets right, and {term}`McNemar's test`.

# %%
answered = {name: written[written["method"] == name] for name in methods}
as_points(compare_each(answered["greedy"], answered).drop("greedy"))

# %% [markdown]
# M3ID as published changes nothing here unless some answer is very unsure: its correction is skipped as soon as the likeliest token has a probability of 0.3, and of two options one nearly always has more.

# %%
words = written.pivot(index=["pair_id", "image_index"], columns="method", values="answer")
same = (words["M3ID"] == words["greedy"]).groupby("pair_id").all().mean()
print(f"M3ID's answers are the greedy ones for both images of {same:.1%} of the pairs")

# %% mystnb={"image": {"alt": "Pair accuracy with 95% intervals for each visual pattern, four marks a row: greedy, VCD, M3ID and text contrast, beside the chance level of 25%."}}
by_pattern = summarize(written, by=["relation", "method"])
plots.grouped_dots(by_pattern, "pair_accuracy", "Pair accuracy", chance=0.25)
plt.show()

# %% [markdown]
# ## One answer, token by token
#
# Below, a question to an image that greedy decoding got wrong and text contrast right, if there is one, with the probabilities of the answer's first token: with the image, without it, and combined. At strength 0 the first and the last are the same. With a running kernel, pick an image and move the slider; the static page shows three strengths.

# %% mystnb={"image": {"alt": "Three panels of bars for the strengths 0, 1.5 and 5. For each candidate token of the answer a grey bar shows its probability with the image, an orange one without the image, a blue one combined. At strength 0 the combined bar is that with the image; at 1.5 the option that is likely without the image has lost to the other one; at 5 a word wins that is unlikely in both."}}
from erragree_utils.plots.widgets import DecodingExplorer

plain, pushed = (answered[n]["correct"].to_numpy() for n in ("greedy", "text contrast"))
repaired = np.flatnonzero(~plain & pushed)[::3][:12]
some = list(dict.fromkeys(repaired // 2)) or list(range(min(12, len(pairs))))
start = int(repaired[0] % 2) if len(repaired) else 0
DecodingExplorer(mllm, [pairs[k] for k in some], TextContrast(), start=start)

# %% [markdown]
# Mind the last panel. Pushed far enough, a word can win that neither stream thinks likely: its probability is small in both, and *relatively* larger with the image. VCD's cut-off is there to keep such words out; a plain contrast has none, and at mini scale some of its answers name no option.
#
# ## The best strength, without cheating
#
# Perhaps the defaults do not suit this model. So we sweep: each option's log-likelihood under the combined distribution, in closed form, for many strengths. Both streams are read once for all of them. (VCD without its cut-off here: it would rule options out.) For M3ID the threshold varies too.

# %%
from erragree_utils import score
from erragree_utils.study import stored_scores, sweep
from erragree_utils.study.kept import results_folder

scores = None
if scale.name != "mini":  # where a run has stored them
    scores = stored_scores(results_folder(), mllm, pairs, "sweep")
if scores is None:
    scores = score(mllm, pairs, sweep.swept())
swept = sweep.by_family(scores)
print("strengths:", *sweep.STRENGTHS)
print("thresholds of M3ID:", *sweep.THRESHOLDS)

# %% mystnb={"image": {"alt": "Pair accuracy against the strength of the correction with 95% bands, a curve for each of VCD, text contrast, and M3ID with a threshold of 0.9. All start from the same point at strength 0."}}
end = ", threshold 0.9"
of_one = swept["M3ID"][swept["M3ID"]["method"].str.endswith(end)]
of_one = of_one.assign(method=of_one["method"].str.removesuffix(end))
curves = {
    name: summarize(found, by="method").filter(like="pair_accuracy")
    for name, found in (swept | {"M3ID": of_one}).items()
}
for table in curves.values():
    table.columns = [column.removeprefix("pair_") for column in table]
curves[f"M3ID{end}"] = curves.pop("M3ID")
ax = plots.stage_curves(curves, "Pair accuracy")
ax.set_xlabel("Strength s of the correction for the first token")
plt.show()

# %% [markdown]
# To report the highest point of such a curve would be cheating: among many settings one is always lucky. So no pair has a part in choosing its own setting. The pairs are split in halves at random, twenty times. Each half chooses for the other: the weakest correction whose log loss is within one standard error of the lowest. (A strength also stretches all scores alike, which changes no answer; so each setting is first given the temperature that suits it.) A pair gets the setting that most of the halves without it chose.

# %%
chosen = {name: choose_held_out(found, "method") for name, found in swept.items()}
plain = swept["text contrast"].query("method == '0'")
for name, found in chosen.items():
    shares = found.attrs["chosen"].items()
    print(
        f"{name}:", " or ".join(f"{setting} for {share:.0%} of pairs" for setting, share in shares)
    )
held_out = compare_each(plain, chosen)
as_points(held_out)

# %% [markdown]
# Where the chosen strength is 0, no correction was better than none by more than a standard error.
#
# ## Why it helps so little
#
# What the model says about a pair can be split in two. Let $m_0$ and $m_1$ be the two images' preferences for the first option, the difference of the options' log-likelihoods. Half their difference is the **signal**: how far the images move the answer apart. Their mean is the **bias**: how far both lean to one option. Image 0 prefers its option by bias + signal, image 1 the other by signal − bias. So both are right exactly if the signal is larger than the bias. (These are not new quantities: $d'$ and the criterion of signal detection theory are the same split.)
#
# Contrast with no image makes of a preference $m$ the preference $(1 + s)\,m - s\,m'$, where $m'$ is what the model prefers without an image, the same for both. Stretching by $1 + s$ changes no answer. So what such a contrast does is to take $\frac{s}{1+s}\,m'$ from the *bias*, and it helps as far as $m'$ tells the bias that the model has with an image.

# %%
from erragree_utils.measures.decisions import predict, prefer, without_bias

alone, pushed = (scores[scores["method"] == f"text contrast: {s}"] for s in (0, 1))
table = prefer(alone).set_index("pair_id")
no_image = prefer(score(mllm, pairs, "question-options", blind=True))
table["without an image"] = no_image.set_index("pair_id")["bias"]
means = table.groupby("relation", sort=False)[["signal", "bias", "without an image"]].mean()
means.round(2)

# %% [markdown]
# (In nats, positive towards the first option, which is the common one at mini scale.) How well does the last column predict the bias? What has to go is the mean square of the bias. Subtract the whole preference without an image: how much is left? And how much would its best multiple take away, chosen with hindsight on these very pairs?

# %%
known = table["relation"].nunique() > 1  # MMVP's pairs come without their patterns
within = "relation" if known else None
bias, blind = table["bias"], table["without an image"]
parts = table.assign(
    before=bias**2, after=(bias - blind) ** 2, product=bias * blind, blind=blind**2
)
left = bootstrap(lambda t: t["after"].sum() / t["before"].sum(), parts, within)
taken = bootstrap(
    lambda t: t["product"].sum() ** 2 / t["before"].sum() / t["blind"].sum(), parts, within
)
print("left by subtracting all of it: {:.0%} [{:.0%}, {:.0%}]".format(*left))
print("taken away by its best multiple: {:.0%} [{:.0%}, {:.0%}]".format(*taken))

# %% [markdown]
# What could a better correction of the bias gain? At most all pairs with a signal in the right direction. For a reference in between, suppose no more than the mean bias of each *pattern* were known, learned on the other half of the pairs, and subtracted:

# %%
signal = summarize(table.reset_index()).loc["all"]
print(f"signal in the right direction: {signal['relative_accuracy']:.1%} of pairs; chance is 50%")
panels = {"plain": table, "text contrast, strength 1": prefer(pushed)}
if known:
    removed = without_bias(alone)
    panels["pattern's bias removed"] = prefer(removed)
    references = {"each image alone": plain, "text contrast, held out": chosen["text contrast"]}
    reference = pd.concat([
        compare_each(pred, {f"bias removed, against {name}": predict(removed)})
        for name, pred in references.items()
    ])  # fmt: skip
as_points(reference) if known else "patterns are not annotated"

# %% mystnb={"image": {"alt": "Three panels, one dot for each pair: signal against bias. In a shaded wedge, where the signal is larger than the bias, both images are answered rightly. Plain scores: nearly all pairs have a positive signal, and many lie above the wedge. With text contrast the dots are further from the middle, and some have moved below the wedge. With the mean bias of each pattern removed most lie within it."}}
plots.signal_and_bias(panels)
plt.show()

# %% [markdown]
# Right of the vertical line the images move the answer the right way; within the wedge, far enough. In the book, the slider below carries every pair through the strengths of the text contrast, and a click shows the pair. (All is divided by $1 + s$, which changes no answer; so what moves is mostly the bias.)

# %%
from erragree_utils.plots import live

of_text = scores[scores["method"].str.startswith("text contrast: ")]
live.signal_and_bias(
    {float(name.split()[-1]): prefer(part) for name, part in of_text.groupby("method", sort=False)},
    pairs,
)

# %% [markdown]
# ## Beside the paper
#
# LLaVA on MMVP, from second-hand notes that quote {cite:t}`li2024erroneous` and from a figure of {cite:t}`tong2024eyes`:

# %%
published_table(benchmark="mmvp", kind="pair", reader=(LLAVA, LLAVA_1_5))

# %% [markdown]
# What this page found:

# %% tags=["finding", "hide-input"]
from functools import partial

from erragree_utils import findings
from erragree_utils.findings import estimate, finding
from erragree_utils.measures.intervals import wilson

claim = partial(finding, seed=scale.seed)
found_here = [
    claim(
        "M3ID with its published threshold answers both images of a pair as greedy decoding does",
        (same, *wilson(same, len(pairs))), above=0.95,
    )
] + [
    claim(
        f"With a setting chosen on other pairs, {name} changes pair accuracy by less than 10 points",
        estimate(row, "difference"), above=-0.1, below=0.1, unit="points",
    )
    for name, row in held_out.drop("VCD").iterrows()
]  # fmt: skip
if scale.name == "mini":
    found_here += [
        claim(
            "Chosen on other pairs, the strength of VCD is 0 for most pairs: no correction at all",
            chosen["VCD"].attrs["chosen"].get("0", 0.0), above=0.5,
        ),
        claim(
            "Subtracting all of what is said without an image leaves more bias than there was",
            left, above=1,
        ),
        claim(
            "The best multiple of what is said without an image takes under 25% of the bias away",
            taken, below=0.25,
        ),
        claim(
            "Removing the mean bias of the pattern raises pair accuracy by over 5 points",
            estimate(reference.iloc[0], "difference"), above=0.05, unit="points",
        ),
        claim(
            "Removing the pattern's mean bias gains over 3 points more than text contrast does",
            estimate(reference.iloc[1], "difference"), above=0.03, unit="points",
        ),
        claim(
            "The images of more than 90% of pairs move the answer in the right direction",
            estimate(signal, "relative_accuracy"), above=0.9,
            paper=published(reader=LLAVA, benchmark="mmvp", kind="relative"),
        ),
    ]  # fmt: skip
findings.show(found_here)

# %% [markdown]
# ## What it means
#
# The paper finds a modest gain, six points on MMVP. For the mini model it is a few points at most: look whether the intervals above include zero. They are wide, though. Some reach seven points, so on this many pairs a gain like the paper's could not be ruled out either. The direction of the correction is right only as far as the second stream knows the bias. Here it hardly does: the mini LLaVA never saw a prompt without an image in its training, so what it says to one is not the habit that it has with one. Subtracted in full it adds more bias than it removes, and no multiple of it removes much. It moves pairs out of the wedge as well as into it.
#
# The split into signal and bias says what a better correction could gain. In the mini model a bias that is fixed for each pattern, learned on other pairs, gives more than text contrast does. And its signal points the right way for nearly all pairs. So the images *did* move the answer; on many pairs not far enough. That is a first sign that the model saw the difference. [Chapter 8](08_two_images.ipynb) puts it to use.
#
# ## What could be wrong
#
# - **Another habit than the real one.** LLaVA-1.5 had text-only conversations in its training, so its stream without an image may know its bias better. That the mini model gains little says nothing about how much the real one gains; the six points do.
# - **Options instead of answers.** The sweep scores the two options and ignores all other words. The table of written answers does not. At paper scale the two differ in the question, too: MMVP's is written with lettered options, and scored without.
# - **One strength for all patterns.** A strength chosen for each pattern by itself might gain more, and would need more held-out pairs to choose it.
# - **The removed bias is not a decoding method.** It needs labelled pairs of the same pattern, half of them with either answer; real questions come one at a time. It is a reference, in the way of calibration {cite:p}`zhao2021calibrate`, not a competitor; and not a ceiling, since a correction for each question could do better.
# - **Signal and bias depend on the scale** of the log-likelihoods; only their comparison within a pair matters, and neither is compared between models here. The split is that of detection theory {cite:p}`macmillan2004detection`.
#
# ## Exercises
#
# **1.** With both streams equal, what does contrastive decoding do at strength 5?
#
# ```{admonition} Solution
# :class: dropdown
# Nothing: the difference is zero. `evaluate(mllm, pairs, "greedy", blind=True)` and a contrast against no image would be such a case, and is refused.
# ```
#
# **2.** M3ID's published threshold of 0.3 changes no answer at mini scale. For which questions could it?
#
# ```{admonition} Solution
# :class: dropdown
# For answers with many likely beginnings, such as captions: there the likeliest token often has less than 0.3. That is what M3ID was made for.
# ```
#
# **3.** Choose a setting on *all* pairs and test it on the same pairs. By how much does it look better than the held-out choice?
#
# ```{admonition} Solution
# :class: dropdown
#
#     best = summarize(swept["M3ID"], by="method")["pair_accuracy"]
#     best.max(), chosen["M3ID"].groupby("pair_id")["correct"].all().mean()
# ```
#
# **4.** Contrast with a noisier image: `VCD(alpha=1, beta=0, noise_step=900)`. Towards which of the other methods should the results move?
#
# ```{admonition} Solution
# :class: dropdown
# Towards a second stream that knows nothing of the picture, as in text contrast, but still has an image to look at. Compare both in the explorer and by `score`.
# ```
#
# ## In this chapter you learned
#
# - Contrastive decoding subtracts what the model says with less of the image; VCD, M3ID and a plain text contrast differ in the second stream and in when they apply.
# - A strength is chosen on other pairs than it is tested on.
# - What a model says about a pair splits into a signal and a bias. A contrast with no image corrects the bias, and helps as far as it knows it.
# - On the mini pairs the signal is mostly there.
#
# **Sources**: {cite:t}`leng2024vcd`, {cite:t}`favero2024m3id`, {cite:t}`li2024erroneous`; full entries under [References](../book/references.md).
