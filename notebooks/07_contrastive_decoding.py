# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Contrastive decoding helps, but most failures stay
#
# **If we turn down what the model would say without the image, some CLIP-blind pairs come out right. Most of those that failed still fail, although in most pairs the images do push the answer the right way.**
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
# **You will** decode LLaVA's answers so that they depend more on the image, see how many CLIP-blind pairs that wins back, and find out why it isn't more.
#
# **You will learn** three methods of contrastive decoding, how to choose their strength without cheating, and how to predict what they gain.
#
# **You need** [chapter 6](06_clip_blind_pairs.ipynb), and signal and bias from [chapter 2](02_clip_matching.ipynb). To run the page at {term}`mini scale <Mini scale, paper scale>`: two CPU cores and about a minute. At paper scale: a GPU of 15 GB or more, and a network for the weights and images.
#
# **At paper scale**, computed ([how](11_paper_scale.ipynb)), downloads and loading aside: T4: 10 GiB, 41 to 52 min; L4: 19 GiB, 23 to 29 min; A100 40 GB: 19 GiB, 9 to 11 min; H100 80 GB: 19 GiB, 3 min.
#
# ## The idea: turn down the language prior
#
# In [chapter 6](06_clip_blind_pairs.ipynb), LLaVA failed by giving both images of a pair the same answer, and mostly the one that was common in its training. A language model chooses the next word by what it has seen *and* by what usually comes next. If the second outweighs the first, why not take some of it away?
#
# That's the idea of contrastive decoding. All three methods run the model in two streams: once as usual, and once with less of the image. A token that stays likely without the image comes from the language prior, so it's turned down. With logits $\ell$ of the first stream, $\ell'$ of the second, and a strength $s$, the combined logits are
#
# $$\ell + s\,(\ell - \ell')$$
#
# | method | second stream | strength |
# |---|---|---|
# | {term}`VCD` {cite:p}`leng2024vcd` | the image under noise | $s = 1$, but only for tokens at least a tenth as probable as the most likely one |
# | {term}`M3ID` {cite:p}`favero2024m3id` | no image | $s$ grows with each token; no correction where the most likely token has a probability of 0.3 or more |
# | text contrast | no image | the same for every token, $s = 1$ if nothing else is said: our plain baseline |
#
# We haven't found the settings that the paper used for M3ID. We take the value that M3ID's authors give for questions, `t0=10`, and show the method twice: as published, with its threshold of 0.3, and in a version that *always* corrects. VCD's authors sample their answers. We decode greedily throughout, so that luck plays no part.

# %%
from erragree_utils import load_benchmark, load_mllm, start

scale = start()
mllm = load_mllm(scale.mllm)
pairs = load_benchmark(scale.mmvp, **scale.draw)
print(mllm, pairs, sep="\n")

# %% [markdown]
# Here's how many of MMVP's pairs LLaVA-1.5-7B gets right with greedy decoding and with M3ID, according to second-hand notes that quote {cite:t}`li2024erroneous`:

# %% tags=["hide-input"]
from erragree_utils.paper import LLAVA, published, published_table

published_table(benchmark="mmvp", kind="pair", reader=LLAVA)[["published", "protocol", "source"]]

# %% [markdown]
# ```{admonition} Predict before you go on
# :class: predict
# How many points do you expect each method to gain at mini scale? And remember that our questions have two possible answers: will M3ID change many of them with its published threshold?
# ```
#
# ## With its published threshold, M3ID is nearly greedy decoding
#
# We ask each image its pair's question, and LLaVA writes the answer token by token. A strict parser reads it: an answer that names neither option, or both, counts as wrong.

# %%
from erragree_utils import evaluate, summarize
from erragree_utils.measures.accuracy import as_percent
from erragree_utils.measures.comparison import as_points, compare_each

methods = {
    "greedy": "greedy", "VCD": "vcd", "M3ID": "m3id", "M3ID, always": "m3id-always",
    "text contrast": "text-contrast",
}  # fmt: skip
written = evaluate(mllm, pairs, methods)
answered = {name: written[written["method"] == name] for name in methods}
table = as_percent(summarize(written, by="method"))[["individual accuracy", "pair accuracy"]]
others = {name: answered[name] for name in list(methods)[1:]}
as_written = compare_each(answered["greedy"], others)
table["points over greedy"] = as_points(as_written)["difference"]
table["not parsed"] = (~written["parsed"]).groupby(written["method"]).sum()
table.fillna("")

# %% [markdown]
# How often does M3ID write exactly what greedy decoding writes?

# %%
words = written.pivot(index=["pair_id", "image_index"], columns="method", values="answer")
same = (words["M3ID"] == words["greedy"]).groupby("pair_id").all().mean()
print(f"M3ID's answers are the greedy ones for both images of {same:.1%} of the pairs")
changed = words[words["M3ID"] != words["greedy"]]
changed.value_counts(["greedy", "M3ID"]).rename("images").to_frame().head(8)

# %% [markdown]
# With two options, one of them nearly always has a probability above 0.3, and then M3ID leaves the answer alone. The table shows the most frequent changes: M3ID corrects only where LLaVA is unsure which word to say at all. It changes few answers, but not random ones: compare what M3ID gains with what it gains if it always corrects. If LLaVA is sure of a wrong answer, only the version that always corrects can change it.
#
# ## M3ID corrects where several words could come next
#
# M3ID was made for long answers, and at mini scale we can ask the same questions in a way that calls for a sentence. For each token of the right sentence, the table shows how probable the model's favourite token is with the image, how often that's below the threshold, so that M3ID would correct, and how strongly.

# %% tags=["hide-input"]
import pandas as pd

from erragree_utils.decoding import M3ID
from erragree_utils.decoding.streams import option_streams

if scale.name == "mini":
    told = load_benchmark(scale.mmvp, n_pairs=4, form="sentence", **scale.draw)
    asked = [(p.images[k], p.question, [p.options[k]]) for p in told for k in (0, 1)]
    streams = option_streams(mllm, *map(list, zip(*asked, strict=True)), M3ID())
    sure = [pd.Series(answer.conditional.softmax(-1).amax(-1).numpy()) for (answer,) in streams]
    gate = pd.concat(sure, axis=1).T.iloc[:, :8]
    gate = pd.DataFrame({
        "probability of the favourite": gate.mean().round(2),
        "corrected, % of answers": (100 * (gate < M3ID().threshold).sum() / gate.count()).round(),
        "strength": [round(M3ID().weight(t + 1), 2) for t in gate],
    }).rename(lambda t: t + 1).rename_axis("token")  # fmt: skip
else:
    gate = None
    print("At mini scale only: MMVP's questions don't ask for sentences.")
gate

# %% [markdown]
# M3ID corrects where several words could come next. In answers as short as these, its strength also stays below one half; that of text contrast is 1 throughout.
#
# ## On many pairs the gain is clear
#
# The paper's gain is six points, and on the pairs above, some intervals are about that wide. At mini scale we can render as many pairs as we like, so let's take three times as many. We also score the two options instead of having the model write, so that no answer can miss both. These pairs aren't mined: mining asks which pairs CLIP can't tell apart, and here we ask about LLaVA. (At paper scale, we stay with the same 150 pairs.)

# %%
from erragree_utils import score
from erragree_utils.measures.decisions import predict
from erragree_utils.scoring import Options
from erragree_utils.study import sweep

many = load_benchmark(scale.mmvp, **scale.draw, **scale.many) if scale.many else pairs
strengths = {s: Options(contrast=c) for s, c in sweep.FAMILIES["text contrast"].items()}
m3id = {"M3ID, always": Options(contrast=M3ID(threshold=1.0))}
contrasted = score(mllm, many, strengths | m3id)
of = {name: part for name, part in contrasted.groupby("method", sort=False)}
decided = {name: predict(part) for name, part in of.items()}
decided |= {"plain": decided["0"], "text contrast": decided["1"]}

# %% [markdown]
# Which strength is best? To try many and report the highest accuracy would be cheating, since one of many settings is always lucky. So we choose each pair's strength on *other* pairs, among the strengths from 0 to 5 that the curve below shows. Twenty times, we split the pairs into two random halves, and each half chooses for the other: the weakest correction whose log loss is within one standard error of the best. Each pair then gets the strength that was chosen for it most often.

# %% tags=["hide-input"]
from erragree_utils.measures.comparison import choose_held_out

swept = pd.concat([decided[name] for name in strengths])
decided["text contrast, chosen"] = choose_held_out(swept, "method")
for strength, share in decided["text contrast, chosen"].attrs["chosen"].items():
    print(f"strength {strength}: chosen for {share:.0%} of the pairs")

names = ["plain", "M3ID, always", "text contrast", "text contrast, chosen"]
against = compare_each(decided["plain"], {name: decided[name] for name in names[1:]})
print(f"{len(many)} pairs, against plain scoring of the options")
as_points(against).rename(columns={"only plain": "pairs lost", "only this": "pairs won"})

# %% tags=["hide-input"] mystnb={"image": {"alt": "Pair accuracy against the strength of the text contrast, with a 95% band, beside the chance level of 25%. At mini scale the curve rises steeply from strength 0 and ever more slowly after that."}, "figure": {"caption": "At mini scale, a stronger contrast wins more pairs, and still leaves most failures where they were."}}
import matplotlib.pyplot as plt

from erragree_utils import plots

curve = summarize(swept, by="method").filter(like="pair_accuracy")
curve.columns = [column.removeprefix("pair_") for column in curve]
swept_curve = {"text contrast": curve.loc[list(strengths)]}
xlabel = "Strength of the correction"
plots.stage_curves(swept_curve, "Pair accuracy", chance=0.25, xlabel=xlabel)
plt.show()

# %% [markdown]
# At mini scale, contrastive decoding helps, as it does in the paper. M3ID that always corrects wins back a few pairs and loses hardly any, and a stronger text contrast wins back more. So the gain is real. Yet most of the pairs that failed still do. (The strongest contrast that we tried is the one chosen, and the curve still rises a little there.)
#
# ## The contrast removes part of the bias
#
# In [chapter 2](02_clip_matching.ipynb) we split what a model says about a pair into signal and bias, and found that a pair is right if its signal exceeds its bias. Without an image, the model still prefers one of the options. That's its **prior**: a margin $m'$ which is the same for both images. A contrast of strength $s$ subtracts $\frac{s}{1+s}\,m'$ from the *bias* and leaves the signal as it is (after we divide by $1 + s$, which changes no answer).
#
# ```{admonition} Key idea
# :class: key-idea
# Contrastive decoding takes away bias and leaves the signal as it is. So it helps as far as the language prior *is* the bias.
# ```
#
# Is it?

# %% tags=["hide-input"]
from erragree_utils.measures.decisions import prefer

plain = prefer(of["0"]).set_index("pair_id")
silent = prefer(score(mllm, many, "question-options", blind=True)).set_index("pair_id")
plain["prior"] = silent["bias"]
means = plain.groupby("relation", sort=False)[["signal", "bias", "prior"]].mean().round(2)
means.rename_axis("pattern")

# %% [markdown]
# (These are nats. A positive bias or prior favours the first option, which at mini scale is the common answer.) At mini scale, both lean towards the common answer. But pairs differ within a pattern, so let's go through them one by one. How much of the bias's *energy*, its mean square, is left once we've subtracted that share of the prior?

# %% tags=["hide-input"]
from erragree_utils.measures.intervals import bootstrap

shares = {"M3ID, always": M3ID().weight(1), "text contrast": 1.0}
left = {
    name: bootstrap(
        lambda t, s=s: ((t["bias"] - s / (1 + s) * t["prior"]) ** 2).mean() / (t["bias"] ** 2).mean(),
        plain[["bias", "prior"]],
    )
    for name, s in shares.items()
}  # fmt: skip
for name, (value, low, high) in left.items():
    print(f"{name}: {value:.0%} [{low:.0%}, {high:.0%}] of the bias's energy is left")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three panels, a dot for each pair: signal across, bias up, each with a scale of its own, and a shaded wedge where both images are answered correctly. At mini scale, most dots have a positive signal and lie above the wedge, since biases are larger than signals. M3ID and text contrast move them down towards it."}, "figure": {"caption": "Contrast takes away part of the bias and leaves the signal alone; at mini scale that brings some pairs down into the wedge, and many stay above it."}}
asked_of = {"M3ID, always": "M3ID, always", "text contrast": "1"}
panels = {"plain": plain} | {
    name: prefer(of[asked_of[name]])[["signal", "bias"]] / (1 + s) for name, s in shares.items()
}
plots.signal_and_bias(panels)
plt.show()
print(f"signal in the right direction: {(plain['signal'] > 0).mean():.0%} of the pairs")

# %% [markdown]
# To the right of the vertical line, the images move the answer in the right direction. Inside the wedge, they move it far enough. (Mind the scales: the vertical axis may span several times as much as the other.) The slider below takes the pairs through the strengths, and a click shows you a pair.

# %% mystnb={"figure": {"caption": "Take the pairs through the strengths: the contrast moves them up or down, hardly sideways, and only inside the wedge are both images right."}}
from erragree_utils.plots import live

live.signal_and_bias({float(s): prefer(of[s]) for s in strengths}, many)

# %% [markdown]
# ## Signal, bias and prior predict the gain
#
# If this is how it works, we should be able to predict what a method gains before we run it. All we need are the plain scores with the image and without it. Take a visual pattern, subtract the method's share of the prior from each pair's bias, and suppose that what's left is normally distributed about its own mean. That gives each pair a chance that its bias stays below its signal, and the mean of these chances is the accuracy that we expect. We do this with and without the share of the prior; the difference is the predicted gain. No gain is used to fit anything.
#
# We try it on the [recorded readers](https://github.com/erroneous-agreements/erroneous-agreements/blob/main/erragree_utils/assets/readers/README.md): mini LLaVAs that differ in their tuning data or in its seed. The prediction comes from one draw of 360 pairs, and we compare it with the gain on two *other* draws.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Measured against predicted gain in points of pair accuracy, a dot for each recorded reader and one kind of mark for each method, with bars that span two draws, beside a dashed line on which both are equal. Both kinds of dots lie near the line, those of text contrast further up. For M3ID, one reader lies well above a cluster of all others."}, "figure": {"caption": "What signal, bias and prior predict is about what each method gains: the dots lie near the line. For text contrast that holds reader by reader; M3ID's readers but one gain too nearly the same to be put in order."}}
from erragree_utils.measures.gains import agreement, gains, recorded_gains
from erragree_utils.models import ASSETS

measures, one_draw = (
    pd.read_csv(ASSETS / "readers" / f"{name}.csv") for name in ("measures", "pairs")
)
predicted = recorded_gains(measures, one_draw, shares)
plots.predicted_gains(predicted)
plt.show()

# %% [markdown]
# The two methods gain so differently that anything would correlate if we threw them together. So we look at each by itself, and compare the prediction with two simpler ones. The first is a constant: the mean gain of all *other* readers by the same method. The second is to run the method on the draw that the prediction had, and to count. The table shows by how many points each is off on average. Since a single reader gains far more than the rest, we also do it without that one:

# %% tags=["hide-input"]
most = predicted.loc[predicted["gain"].idxmax(), "model"]
rest = recorded_gains(measures[measures["model"] != most], one_draw, shares)
judged = {"": agreement(predicted), f", without {most}": agreement(rest)}
judged = pd.concat([of_each.rename(lambda m, w=w: m + w) for w, of_each in judged.items()])
judged = judged.sort_index()
off = {"predicted": "prediction, off by", "constant": "constant", "counted": "counting"}
shown = (100 * judged[list(off)]).round(1).rename(columns=off)
shown.insert(0, "correlation", judged["correlation"].round(2))
print(f"{predicted['model'].nunique()} readers; the one that gains most is {most}")
shown

# %% [markdown]
# For text contrast, the prediction works: it tells readers apart, with or without the one that gains most, and it's off by about a point. That's far better than a constant, and no worse than running the method on the same pairs.
#
# For M3ID, it's right about the one reader that gains far more, and about the size of all the others' gains. But it puts those others only loosely in order, and a constant does at least as well for them. There's little to put in order: their gains differ about as much as those of a single reader on two draws.
#
# Three of these readers differ in the training's seed alone. Pooled, on three draws of 360 pairs each, this is how many points each method adds to plain scoring, with an interval over training seeds and draws:

# %% tags=["hide-input"]
from erragree_utils.measures.accuracy import in_percent
from erragree_utils.measures.gains import pooled_gains

added = pooled_gains(measures, ["mini", "seed1", "seed2"])
in_percent(added, {"gain": "gain in pair accuracy"})

# %% [markdown]
# So M3ID does gain, whichever of these readers it decodes. Next: LLaVA-1.5 was also tuned on some text without images. Does that make a difference? The recorded readers were tuned with different shares of such rows, and with different imbalances: with the common answer right in 85% or in 95% of the questions. Some differ from the shipped reader in the last steps of tuning alone. Here's the pair accuracy of plain scoring, and how many points each method adds:

# %% tags=["hide-input"]
tuning = ["imbalance", "text_only", "model"]
rows = gains(measures).merge(measures[tuning].drop_duplicates())
dose = rows.pivot(index=tuning, columns="method", values="gain")
dose.insert(0, "plain scoring", rows.groupby(tuning)["plain"].first())
named = {
    "mini": "as shipped", "seed1": "another seed", "seed2": "a third seed",
    "seed1-imb95-t00": "another seed", "seed1-imb95-t20": "another seed",
    "mixed-two-images": "some prompts with two images",
    "two-more": "many prompts with two images",
}  # fmt: skip
dose.index = [
    f"{common:.0%}, {text:.0%}: {named.get(model, 'other last steps')}"
    for common, text, model in dose.index
]
(100 * dose).round(1).rename_axis("common answer, text without images", axis=1)

# %% [markdown]
# Compare readers of the same imbalance. At 85%, text without images makes hardly any difference. At 95%, there are two pairs of readers, which share all their training but the last steps. With a fifth of the rows without images, M3ID gains more in both: a lot more in one, and only about a point in the other, which may be luck. Text contrast gains a lot more in the first, but *less* in the second. So we can't say what such rows do in general; two trainings disagree.
#
# One thing holds for all rows of this table. Before it saw any image, the language model had read questions and answers as text alone, and there the common answer was right in 95% of the questions about patterns. So the stream without the image always knows a strong prior, whatever tuning adds. The reader that would test this best isn't in the table: one whose language model never read text without an image. By our explanation, contrastive decoding should gain it little.
#
# ## Beside the paper: six points on 150 pairs
#
# By the published shares, M3ID took LLaVA from 38 right pairs on MMVP to 47, out of 150. Is that more than luck? It depends on how many pairs M3ID *lost* on the way, and that isn't published. Here's the exact McNemar test for each possibility:

# %% tags=["hide-input"]
from scipy import stats

before, after = (
    round(150 * published(benchmark="mmvp", kind="pair", reader=LLAVA, methods=m).value)
    for m in ("greedy", "m3id")
)
exact = pd.DataFrame({"lost": range(0, 13, 2)})
exact["won"] = exact["lost"] + after - before
tested = zip(exact["lost"], exact["lost"] + exact["won"], strict=True)
exact["p"] = [round(stats.binomtest(k, n).pvalue, 3) for k, n in tested]
print(f"{before} pairs right, then {after}")
exact.set_index("lost")

# %% [markdown]
# So the gain is significant only if M3ID lost four pairs at most. At mini scale it loses few, so that may well be the case, but from the published numbers alone we can't know.
#
# ## What we found

# %% tags=["finding", "hide-input"]
from functools import partial

from erragree_utils import findings
from erragree_utils.findings import estimate, finding
from erragree_utils.measures.comparison import compare
from erragree_utils.measures.intervals import wilson

claim = partial(finding, seed=scale.seed)
found_here = [
    claim(
        "Writing its answers by M3ID that always corrects, LLaVA gets more CLIP-blind pairs right "
        "than greedily",
        estimate(as_written.loc["M3ID, always"], "difference"), above=0, unit="points",
        question="How many points does decoding against the language prior win back?",
        paper=f"{(after - before) / 1.5:.1f}: {LLAVA}, MMVP, pair accuracy by M3ID less that by "
        "greedy decoding (v1) [S]",
    ),
    claim(
        "M3ID that always corrects gets more pairs right than plain scoring of the options",
        estimate(against.loc["M3ID, always"], "difference"), above=0, unit="points",
    ),
    claim(
        "With its published threshold M3ID answers both images of more than 85% of the pairs as "
            "greedy decoding does",
        (same, *wilson(same, len(pairs))), above=0.85,
    ),
]  # fmt: skip
if scale.name == "mini":
    beyond = compare(decided["M3ID, always"], decided["text contrast"])
    by_contrast = judged.filter(like="text contrast", axis=0)
    moved = plain["signal"] > 0
    right = decided["text contrast"].groupby("pair_id")["correct"].all()[moved[moved].index]
    found_here += [
        claim(
            "Text contrast gets more pairs right than M3ID that always corrects",
            estimate(beyond, "difference"), above=0, unit="points",
        ),
        claim(
            "With a strength chosen on other pairs, text contrast gains over 3 points",
            estimate(against.loc["text contrast, chosen"], "difference"), above=0.03,
            unit="points",
        ),
        claim(
            "Text contrast leaves less than 75% of the bias's energy",
            left["text contrast"], below=0.75,
        ),
        claim(
            "M3ID that always corrects leaves more of the bias than text contrast, over half of it",
            left["M3ID, always"], above=0.5,
        ),
        claim(
            "Of the pairs whose images move the answer the right way, text contrast gets fewer "
            "than 80% right",
            (right.mean(), *wilson(right.mean(), len(right))), below=0.8,
        ),
        finding(
            "By text contrast, predicted and measured gain of the recorded readers correlate "
            "above 0.6, even without the reader that gains most",
            by_contrast["correlation"].min(), above=0.6, unit="",
        ),
        finding(
            "By text contrast, the predicted gains are off by less than three quarters of what a "
            "constant is, even without that reader",
            (by_contrast["predicted"] / by_contrast["constant"]).max(), below=0.75, unit="",
        ),
        finding(
            "By M3ID that always corrects, the predicted gains of the recorded readers are off by "
            "less than 1.5 points on average",
            judged.loc["M3ID, always", "predicted"], below=0.015, unit="points",
        ),
    ]  # fmt: skip
findings.show(found_here)

# %% [markdown]
# ## What it means
#
# Turning down the language prior does help, as the paper reports, and for a reason that we can check. What the model says without an image is part of the bias that it has with one. Take that part away, and pairs whose signal was just too small come out right. How many? The plain scores and the prior tell it, to about a point.
#
# But it's only a part. Bias also comes from what both images show, and a stream without an image knows nothing of that. So most of the pairs that failed still fail, although the images of many of them move the answer in the right direction. For these, the difference got through the encoder and reached the answer's probabilities, and decoding alone doesn't bring it out. [Chapter 8](08_two_images.ipynb) compares the two images directly, and then it shows.
#
# ## What could be wrong
#
# - **We made the prior.** We chose the mini LLaVA's imbalance, and gave its language model a prior to match. Nobody has measured how strong LLaVA-1.5's prior is for MMVP's questions. The mini world shows that this mechanism *can* produce a gain like the paper's.
# - **We mostly score options.** The larger measurement scores two options and ignores all other words. The table of written answers doesn't, but it has fewer pairs.
# - **The prediction is tested on few readers.** Several of them share most of their training with another one, so they aren't independent, and for M3ID a single reader carries the correlation. It's also our second attempt: the first took one signal for all pairs and biases around zero, and it told the two methods apart but not the readers.
# - **M3ID's first step.** We count the first token as step 1, which is how we read its paper. Counting from 0 would change the strength by about a tenth.
#
# ## Going deeper
#
# ### What decoding gains depends on the form of the answer
#
# What M3ID does depends on which token decides. So we also asked the recorded readers for answers of three forms: a word, a sentence or a letter. Here's the pair accuracy of their written answers:

# %% tags=["hide-input"]
from erragree_utils.tabletop.forms import FORMS

kept = measures[measures["group"].isin(FORMS) & (measures["measure"] == "pair")]
forms = kept.pivot_table(index="group", columns="method", values="value").loc[list(FORMS)]
in_percent(forms.rename_axis("answer"), {methods[n]: n for n in methods if n != "VCD"})

# %% [markdown]
# A sentence leads up to the word that decides, and every token on the way is corrected on its own: M3ID, which starts gently, gains a little, and the full contrast loses pairs. A letter means nothing by itself. Without the image, "(a)" should be as likely as "(b)", so we expected the contrast to gain least there, and it gains most. M3ID isn't so choosy. These are a few points on 360 pairs and two readers, so take them as a hint.
#
# ### See one answer change
#
# Here are the probabilities of an answer's first token, for an image that text contrast gets right and greedy decoding gets wrong (if there is one). At strength 0, the combined distribution is simply the one with the image. With a running kernel, you can pick another image and move the slider; the page shows three strengths.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three panels of bars for the strengths 0, 1.5 and 5. For each candidate token of the answer, bars show its probability with the image, without it, and combined. At strength 0 the combined bar is that with the image."}, "figure": {"caption": "A contrast takes probability from words that are just as likely without the image, and gives it to those that need the image."}}
import numpy as np

from erragree_utils.decoding import TextContrast
from erragree_utils.plots.widgets import DecodingExplorer

repaired = np.flatnonzero(
    ~answered["greedy"]["correct"].to_numpy() & answered["text contrast"]["correct"].to_numpy()
)[::3][:12]  # fmt: skip
some = list(dict.fromkeys(repaired // 2)) or list(range(min(12, len(pairs))))
begin = int(repaired[0] % 2) if len(repaired) else 0
DecodingExplorer(mllm, [pairs[k] for k in some], TextContrast(), start=begin)

# %% [markdown]
# If you push the strength far enough, a word can win that neither stream finds likely: its probability is small in both, but *relatively* larger with the image. VCD's cut-off keeps such words out. A plain contrast has no cut-off.
#
# ## Exercises
#
# **1.** If both streams are equal, what does contrastive decoding do at strength 5?
#
# ```{admonition} Solution
# :class: dropdown
# Nothing, since the difference is zero. That's what would happen if you left out the image in the first stream too (`blind=True`), so the package refuses to contrast in that case.
# ```
#
# **2.** Suppose that a model's prior is twice its bias in every pair. Which strength is best, and what does a very large one do?
#
# ```{admonition} Solution
# :class: dropdown
# The contrast takes away $\frac{s}{1+s}$ of the prior. The best strength takes away half of it, so $s = 1$ removes the bias altogether. A very large one takes away all of the prior, and then the bias is as large as before, with the opposite sign.
# ```
#
# **3.** Choose a strength on *all* pairs and test it on the same pairs. How much better does it look than the held-out choice?
#
# ```{admonition} Solution
# :class: dropdown
#
#     best = summarize(swept, by="method")["pair_accuracy"]
#     best.max(), decided["text contrast, chosen"].groupby("pair_id")["correct"].all().mean()
# ```
#
# **4.** Contrast with a noisier image: `VCD(alpha=1, beta=0, noise_step=900)`. Which of the other methods should the results come closer to?
#
# ```{admonition} Solution
# :class: dropdown
# To text contrast, since its second stream knows nothing of the picture either. But here that stream still has an image to look at. Compare the two in the explorer and with `score`.
# ```
#
# ## In this chapter you learned
#
# - Contrastive decoding turns down what the model would say with less of the image. VCD, M3ID and plain text contrast differ in what the second stream sees and in when they correct.
# - With its published threshold, M3ID leaves nearly all short answers as they are, and yet gains about as much as if it always corrects: a few points.
# - A contrast with no image removes bias as far as the bias is the prior. From the plain scores and the prior we can predict what text contrast gains, to about a point.
# - Most pairs that fail still do, although the images of many of them move the answer the right way.
#
# **Sources**: {cite:t}`leng2024vcd`, {cite:t}`favero2024m3id`, {cite:t}`li2024erroneous`; full entries under [References](../book/references.md).
