# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # LLaVA reads the same encoder and gets it right
#
# **LLaVA's language model reads the patch tokens of that very encoder, frozen, and is right about nearly all of the pairs that CLIP's score can't match.**
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/erroneous-agreements/erroneous-agreements/blob/main/notebooks/03_same_encoder_new_reader.ipynb)

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
# **You will** let LLaVA, which reads the very same frozen encoder, answer the left/right pairs that CLIP's score cannot match, and then interfere with what it reads until you know where the answer comes from.
#
# **You will learn** VQAScore, how to compare two readers of the same pairs, and how interventions on a model's inner states differ from probes of them.
#
# **You need** [chapter 2](02_clip_matching.ipynb). To run the page at {term}`mini scale <Mini scale, paper scale>`: two CPU cores and about a minute. At paper scale: a GPU of 15 GB (4-bit weights) or 24 GB (half precision), a network for the weights and What'sUp's photographs, and minutes to hours depending on the GPU ([Paper scale](11_paper_scale.ipynb) estimates them).
#
# **At paper scale**, computed ([how](11_paper_scale.ipynb)), downloads and loading aside: T4: 10 GiB, 1.4 to 1.8 h; L4: 19 GiB, 47 to 59 min; A100 40 GB: 19 GiB, 19 to 24 min; H100 80 GB: 19 GiB, 6 to 8 min.
#
# ## The question
#
# CLIP's matching score is at chance on left/right pairs. There's an obvious explanation: the encoder gives both images nearly the same embedding, so the difference is lost, and anything built on this encoder is blind to it.
#
# LLaVA-1.5 is built on this encoder {cite:p}`liu2024llava15`. It takes CLIP's image tower as it is, {term}`frozen <Frozen>`, and passes its {term}`patch tokens <Patch token>` through a small {term}`projector <Projector>` to a language model. If the encoder is blind, LLaVA is blind.

# %%
from erragree_utils import load_benchmark, load_clip, load_mllm, plots, start

scale = start()
clip = load_clip(scale.clip, dtype=scale.clip_dtype)
mllm = load_mllm(scale.mllm)
names = {"A": scale.whatsup_a, "B": scale.whatsup_b}
benches = {name: load_benchmark(bench, **scale.draw) for name, bench in names.items()}
print(clip, mllm, sep="\n")

# %% mystnb={"figure": {"caption": "One encoder, two readers: CLIP pools what its encoder saw into one vector and compares it with a caption's, while LLaVA reads the patch tokens, each still in its place."}}
plots.who_reads_what()

# %% [markdown]
# Our mini LLaVA is made the same way: it reads the image tower of `"mini"`, the CLIP you met in the last two chapters.
#
# ## It is the same encoder
#
# Let's check before we believe it. We send the same eight images through CLIP as OpenCLIP loads it, and through the tower inside LLaVA as Transformers loads it. We compare the tokens of the second-to-last block, which are what LLaVA-1.5 reads: first from the same tensor of pixels, then with each model's own preprocessing. A check that can't fail shows nothing, so we add a tower with random weights.

# %% tags=["hide-input"]
from erragree_utils.models.states import untrained
from erragree_utils.models.towers import SAME_PIXELS, compare_towers

images = [image for pair in benches["A"][:4] for image in pair.images]
_, n_tokens, width = clip.patch_tokens(images[:1]).shape
print(f"{n_tokens} patch tokens of {width} numbers for each image")
print("largest difference of two numbers, as a share of the largest number")
towers = compare_towers(clip, mllm, images)
random_weights = compare_towers(untrained(clip), mllm, images)
for what, share in {**towers, "random weights": random_weights[SAME_PIXELS]}.items():
    print(f"- {what}: {share:.1e}")

# %% [markdown]
# At mini scale the difference is rounding. At paper scale, LLaVA's weights are published in 16 bits, so we allow a hundredth on the same pixels. And CLIP crops photographs where LLaVA-1.5 pads them, so with their own preprocessing they differ much more.
#
# ```{admonition} Predict before you go on
# :class: predict
# CLIP got half of the left/right images right, and hardly any of the pairs. Write down the share of *pairs* that you expect from a language model that reads this encoder's patch tokens.
# ```
#
# ## One pair, two readers
#
# CLIP scores a caption by a cosine. LLaVA has no such number, but we can ask it. {term}`VQAScore` {cite:p}`lin2024vqascore` is the probability that it answers a fixed question with "Yes":

# %%
from erragree_utils import score
from erragree_utils.scoring.questions import VQA_QUESTION

pair = benches["A"].select("left/right")[0]
print(mllm.prompt(VQA_QUESTION.format(caption=pair.captions[0])), "\n")
of_both = {"CLIP": score(clip, [pair], "matching"), "LLaVA": score(mllm, [pair], "vqascore")}
for name, table in of_both.items():
    left, right = table["score"].to_numpy().reshape(2, 2).round(4)
    print(f"{name}, the “left” image: {left}\n{name}, the “right” image: {right}")

# %% [markdown]
# Both models get the same image and the same two captions, one at a time. A cosine of 0.5 doesn't mean "half sure"; as in chapter 2, only the order of the two scores counts.
#
# ## Drag it across
#
# Between those two images lies a whole way: carry the small thing round the furniture, in front of it, and let both readers look at each step. This scene isn't picked for its effect, it's simply the first of the benchmark. Before you touch it: which of the five bars will move? (Scenes are rendered at every scale; on the [first page](../book/index.md), where another one goes round, both models can run in your browser.)

# %% mystnb={"figure": {"caption": "At mini scale, CLIP's numbers hardly notice where the thing stands, while LLaVA's answer turns round."}}
from erragree_utils.benchmarks.way import way
from erragree_utils.plots import live
from erragree_utils.scoring.frames import read_frames

round_it = way(seed=scale.seed or 0)
seen = round_it.images() if scale.name == "mini" else round_it.images(336, 3)
read = read_frames(clip, mllm, seen, round_it.captions)
gap, yes = (read["score_0"] - read["score_1"]).abs().max(), list(read["yes_0"])
live.drag(
    round_it.images(320, 3), round_it.places, live.readings(read), f"the {round_it.mover}",
    "Drag the thing, use the slider, or the arrow keys. CLIP's cosine to the start goes "
    f"down to {read['cosine'].min():.3f}, and its two scores get {gap:.3f} apart at most. "
    f"“{round_it.captions[0]}”? LLaVA says Yes with {yes[0]:.0%} at the start, "
    f"{yes[len(yes) // 2]:.0%} halfway and {yes[-1]:.0%} at the end.",
)  # fmt: skip

# %% [markdown]
# The two ends are a pair of the benchmark; halfway, in front of the furniture, neither caption is true. One scene proves nothing, so let's count.
#
# ## LLaVA tells apart what CLIP's score can't
#
# CLIP matches and LLaVA answers, for the same images and captions. Here's both their accuracy in per cent; guessing would give 50 and 25. LLaVA's score is P("Yes"), which our package calls `vqascore`:

# %%
import numpy as np
import pandas as pd

from erragree_utils import evaluate, summarize
from erragree_utils.measures.accuracy import as_percent, in_percent

by_reader = {
    "CLIP": evaluate({"CLIP": clip}, benches, "matching"),
    "LLaVA": evaluate({"LLaVA": mllm}, benches, "vqascore"),
}
summary = summarize(pd.concat(by_reader.values()), by=["benchmark", "relation", "model"])
accuracy = ["individual accuracy", "pair accuracy"]
methods = {"CLIP": "CLIP, matching", "LLaVA": "LLaVA, vqascore"}
as_percent(summary)[accuracy].rename(methods, level="model")

# %% tags=["hide-input"] mystnb={"image": {"alt": "The two images of the first left/right pair of benchmark A. Below each, bars for the scores of both captions, by CLIP and by LLaVA. CLIP's two bars are almost equally long, and the same caption is ahead for both images. LLaVA's bars show which caption it prefers for each image."}, "figure": {"caption": "CLIP's two bars are almost equally long for either image; LLaVA's aren't."}}
import matplotlib.pyplot as plt

large = load_benchmark(scale.whatsup_a, **scale.draw, **scale.pictures).select("left/right")
labels = {"CLIP": "CLIP, cosine", "LLaVA": "LLaVA, P(Yes)"}
on_a = {labels[k]: v[v["benchmark"] == "A"] for k, v in by_reader.items()}
plots.show_readers(large[0], on_a)
plt.show()

# %% [markdown]
# The captions are in the same order below both images, and the coloured bar is the image's own caption. Now for all left/right pairs. The paper measured LLaVA by two other protocols, so its numbers get rows of their own: the first version prompted for an answer (`prompted-v1`), and the third used VQAScore with the end token (`vqascore-authors`: the geometric mean of the probabilities of "Yes" and of ending there).

# %% tags=["hide-input"] mystnb={"image": {"alt": "Individual and pair accuracy for left/right pairs of benchmarks A and B with 95% intervals beside the chance level: a row for CLIP and one for LLaVA by VQAScore, and on A one for each of the two protocols by which the paper measured LLaVA. Open diamonds show the paper's numbers for What'sUp."}, "figure": {"caption": "LLaVA gets the left/right pairs right that CLIP's score, on the same encoder, can't match."}}
left_right = summary.xs("left/right", level="relation").sort_index()
from erragree_utils.paper import CLIP, LLAVA, published, published_numbers

in_whatsup = {"benchmark": ("whatsup-a", "whatsup-b"), "kind": "pair"}
# LLaVA on the pairs, and by the protocols, of which the paper gives numbers.
as_there, protocols = {}, ("vqascore-authors", "prompted-v1")
for number in published_numbers(reader=LLAVA, methods=protocols, **in_whatsup):
    name, (method,) = number.benchmark[-1].upper(), number.methods
    pairs = {name: benches[name].select(number.relation)}
    table = summarize(evaluate(mllm, pairs, method), by=["benchmark", "relation"])
    as_there[f"{name}, {number.relation}", f"LLaVA, {method}"] = table.iloc[0]

sides_of_a = {"benchmark": "whatsup-a", "relation": "left/right"}
reported = {
    (reader, kind): published(reader=model, kind=kind, version="v1", **sides_of_a)
    for reader, model in {"CLIP": CLIP, "LLaVA": LLAVA}.items()
    for kind in ("individual", "pair")
}
by_score = published(reader=LLAVA, version="v3", **sides_of_a)
pair_b = published(reader=CLIP, benchmark="whatsup-b", relation="left/right", kind="pair")
paper = {
    "A, CLIP": {f"{k}_accuracy": reported["CLIP", k].value for k in ("individual", "pair")},
    "A, LLaVA, prompted-v1": {
        f"{k}_accuracy": reported["LLaVA", k].value for k in ("individual", "pair")
    },
    "A, LLaVA, vqascore-authors": {"pair_accuracy": by_score.value},
    "B, CLIP": {"pair_accuracy": pair_b.value},
}
theirs = {("A", how): row for (pairs, how), row in as_there.items() if pairs == "A, left/right"}
own = left_right.rename({"LLaVA": "LLaVA, vqascore"}, level="model")
rows = pd.concat([own, pd.DataFrame(theirs).T.rename_axis(own.index.names)]).sort_index()
plots.accuracy_bars(rows, paper=paper, paper_label="paper, on What'sUp")
plt.show()

# %% [markdown]
# How sure can we be of the gap? Only pairs that one model gets right and the other gets wrong can tell the two apart. {term}`McNemar's test` {cite:p}`mcnemar1947` asks whether these split evenly, and a bootstrap over pairs gives an interval for the difference, here in percentage points of pair accuracy:

# %% tags=["hide-input"]
from erragree_utils.measures.comparison import as_points, compare

gaps = {}
for name in benches:
    chosen = f"benchmark == {name!r} and relation == 'left/right'"
    gaps[name] = compare(*(table.query(chosen) for table in by_reader.values()))
gaps = pd.DataFrame(gaps).T
alone = {"only plain": "only CLIP", "only this": "only LLaVA"}
as_points(gaps).rename(columns=alone).rename_axis("left/right pairs of")

# %% [markdown]
# Before you're impressed: **we trained our mini LLaVA for this.** Its tuning asked about left and right, equally often, in scenes of this very world; only the benchmarks' objects, combinations and draws were new to it. LLaVA-1.5 never saw What'sUp, though its instruction data mention left and right too. So what if nobody had taught it? We trained another LLaVA on the same encoder, in the same way, with one thing left out: none of its texts says which of two objects is to the left or right of the other. It does learn whether a *single* object is at the left, in the middle or at the right. (This is recorded, on three draws of 100 sets each; the [record](https://github.com/erroneous-agreements/erroneous-agreements/blob/main/erragree_utils/assets/readers/README.md) has the commands.) Here is its pair accuracy in per cent:

# %% tags=["hide-input"]
from erragree_utils.models import ASSETS

table = pd.read_csv(ASSETS / "readers" / "measures.csv").query("measure == 'pair'")
untaught = table.query("model == 'no-left-right' and group != 'all'")
untaught = untaught.assign(benchmark=untaught["benchmark"].str[-1].str.upper())
shares = untaught["value"] * untaught["n"]
by = [untaught[name].rename(name) for name in ("benchmark", "group", "method")]
untaught = 100 * shares.groupby(by).sum() / untaught["n"].groupby(by).sum()
untaught = untaught.unstack().round(1).rename_axis(["benchmark", "pairs"])
untaught[["vqascore", "prompted"]].set_axis(["vqascore", "written answers"], axis=1)

# %% [markdown]
# It tells *on* from *under* and *in front* from *behind*, but not left from right. It reads the very same tokens, and it knows the words. What it lacks is the question. So take this chapter's result for what it is:
#
# ```{admonition} Key idea
# :class: key-idea
# The tokens hold the side *for a reader that has been taught to look*. A reader that hasn't can be as blind as CLIP's score.
# ```
#
# Under [Going deeper](#going-deeper), at the end of the page, you'll find the same with written answers, a control with the wrong images, and what is left of a photograph that isn't square.
#
# ## Mirror the tokens, not the picture, and the answer stays
#
# Where in those tokens is the side? Two things could carry it. One is what a token *says*: the tower's position embeddings and attention may write a place into it. The other is *where a token stands* in the sequence that the language model reads. An intervention can tell: we leave pixels, tower and projector alone, and reverse the columns of the projected tokens just before the language model reads them.
#
# ```{admonition} Predict before you go on
# :class: predict
# If you mirror the picture, right answers should turn into wrong ones. What do you expect if you keep the picture and only mirror its tokens? If you shuffle them? If you mirror picture *and* tokens?
# ```

# %%
from PIL import ImageOps

from erragree_utils.models.interventions import mirrored, rearranged, shuffled

sides = benches["A"].select("left/right")
flipped = sides.with_images([list(map(ImageOps.mirror, pair.images)) for pair in sides])
own = by_reader["LLaVA"].query("benchmark == 'A' and relation == 'left/right'")
read = {"as they are": own, "picture mirrored": evaluate(mllm, flipped, "vqascore")}
with rearranged(mllm, mirrored):
    read["tokens mirrored"] = evaluate(mllm, sides, "vqascore")
    read["picture and tokens mirrored"] = evaluate(mllm, flipped, "vqascore")
with rearranged(mllm, shuffled(seed=0)):
    read["tokens shuffled"] = evaluate(mllm, sides, "vqascore")

# %% [markdown]
# Compare each row with the first. The last column is the mean probability of *Yes* to an image's own caption:

# %% tags=["hide-input"]
moved = pd.concat([table.assign(tokens=name) for name, table in read.items()])
by_change = summarize(moved, by="tokens").loc[list(read)]
yes = moved.groupby("tokens")["score_own"].mean().rename("mean P(Yes)")
as_percent(by_change)[accuracy].join(in_percent(yes.to_frame()))

# %% [markdown]
# At mini scale the answer follows what the tokens *say*. Mirror the picture, and the answers flip. Mirror its tokens instead, and most stay as they are, though every column stands where another stood; even a shuffle leaves most of them. Mirror both, and the answers go by the picture again. So the tower writes places *into* its tokens, and our language model reads them there.
#
# ```{admonition} Not every reader of every encoder does
# :class: caution
# An earlier version of this book had a CLIP whose embedding had all but lost the side, and a LLaVA built on that. It went by the *order* of the tokens alone: when they were mirrored, it was right for 0.1% of the same images, on average over five draws ([the project at commit a97ca0f](https://github.com/erroneous-agreements/erroneous-agreements/blob/a97ca0f/book/margins.csv)). Where a reader finds the side depends on what its encoder writes down. Which of the two LLaVA-1.5-7B does, this page tells at paper scale.
# ```

# %% [markdown]
# ## Beside the paper
#
# Here is our pair accuracy beside the paper's in per cent, each row by one protocol; two independent guesses would give 25. (What the paper says of individual accuracy are the diamonds in the picture above.)

# %% tags=["hide-input"]
beside = {}
for number in published_numbers(reader=(CLIP, LLAVA), **in_whatsup):
    name, (method,) = number.benchmark[-1].upper(), number.methods
    reader, pairs = "CLIP" if number.role == "clip" else "LLaVA", f"{name}, {number.relation}"
    ours = as_there.get((pairs, f"LLaVA, {method}"), summary.loc[(name, number.relation, reader)])
    beside[pairs, f"{reader}, {method}"] = {
        "ours": ours["pair_accuracy"], "ours_low": ours["pair_accuracy_low"],
        "ours_high": ours["pair_accuracy_high"], "paper": number.value, "version": number.version,
    }  # fmt: skip
beside = pd.DataFrame(beside).T.rename_axis(["pairs of", "read by"])
in_percent(beside, {"ours": "ours", "paper": "paper"}).join(beside["version"])

# %% [markdown]
# The paper's numbers are of What'sUp's photographs; the versions are the paper's, and the source is second-hand notes that quote {cite:t}`li2024erroneous`.
#
# We haven't found the first version's prompt; `prompted-v1` words its question as the authors' later code does. For on/under it asks whether the object is "at the bottom" or "at the top" of the other. Our mini LLaVA has never met the word "bottom", so at mini scale that row says nothing about what it sees. By VQAScore the mini is more even than the real one: it reads on/under and front/behind as well as left and right, and in the later version of the paper LLaVA-1.5-7B doesn't. CLIP differs most in front and behind, which the mini CLIP matches far more often than the paper's.
#
# ## What we found

# %% tags=["finding", "hide-input"]
from functools import partial

from erragree_utils import findings
from erragree_utils.findings import estimate, finding

claim, found = partial(finding, seed=scale.seed), []
question = "How often does LLaVA, on the same frozen encoder, get both images of a pair right?"
for name in benches:
    row = left_right.loc[(name, "LLaVA")]
    found += [
        claim(
            f"By VQAScore LLaVA is right for more than 90% of the left/right images of {name}",
            estimate(row, "individual_accuracy"), above=0.9,
        ),
        claim(
            f"By VQAScore LLaVA is right for more than 75% of the left/right pairs of {name}",
            estimate(row, "pair_accuracy"), above=0.75, paper=by_score if name == "A" else "",
            question=question if name == "A" else "", chance=0.25,
        ),
        claim(
            f"LLaVA is right for more left/right pairs of {name} than CLIP, by over 50 points",
            estimate(gaps.loc[name], "difference"), above=0.5, unit="points",
        ),
    ]  # fmt: skip
text = "Both loaders give the same patch tokens up to rounding (largest relative difference)"
rounding = 1e-5 if scale.name == "mini" else 1e-2
found.append(claim(text, towers[SAME_PIXELS], below=rounding, unit=""))
individual = {name: estimate(row, "individual_accuracy") for name, row in by_change.iterrows()}
found += [
    claim(
        "With the columns of its image tokens mirrored and the picture as it is, LLaVA is still "
        "right for more than 70% of the left/right images of A",
        individual["tokens mirrored"], above=0.7,
    ),
    claim(
        "With picture and tokens mirrored, LLaVA is right for fewer than 30% of the left/right "
        "images of A",
        individual["picture and tokens mirrored"], below=0.3,
    ),
    claim(
        "With its image tokens shuffled, LLaVA is right for more than 80% of the left/right "
        "images of A",
        individual["tokens shuffled"], above=0.8,
    ),
]  # fmt: skip
findings.show(found)

# %% [markdown]
# ## What it means
#
# The encoder isn't blind. At mini scale, its patch tokens say where things are, and a language model that has been taught to look reads it there for nearly every pair. (At paper scale, see which of the findings hold.) What failed in chapter 2 was the *matching score*. A cosine above 0.99 between two embeddings doesn't show that every reader of the encoder has lost the difference.
#
# That's less than it may sound: *another* reader of the same encoder succeeds. The two readers differ in many ways, and [chapter 9](09_why.ipynb) asks which of them makes the difference.
#
# ## What could be wrong
#
# - **The two read different things.** LLaVA reads patch tokens, the matching score one pooled vector. Whether that vector still holds the side is another question, and [chapter 4](04_is_it_there.ipynb) asks it.
# - **The training differs.** We tuned the mini LLaVA on balanced questions about left and right. This CLIP's captions seldom say left or right, and half of the time as seen from across the table. Data and objective are both candidates, and this page can't tell them apart.
# - **The interfaces differ.** The paper's reviewers objected to comparing a matching score with prompted answers. VQAScore narrows that gap but doesn't close it.
# - **Interventions create inputs that never occur in training.** The model may be less sure of mirrored or shuffled tokens because they're strange: see how P(Yes) sinks. That most answers survive all the same is the stronger for it.
# - **One place and layer at a time.** Two places may hold the same information, and states that change nothing on their own may matter together.
# - **One training run** of each mini model. Exercise 2 tries another draw of the *benchmark*.
#
# ## Exercises
#
# **1.** A model doesn't look at the picture, but knows for each pair of objects how likely *left* is in the world. What does it score?
#
# ```{admonition} Solution
# :class: dropdown
# Individual accuracy 50%, pair accuracy 0%. It prefers the same caption for both images of a pair, and that caption belongs to only one of them. That's why people build pairs.
# ```
#
# **2.** Draw rendered pairs with another seed, and score them with the mini models. Is the gap the same?
#
# ```{admonition} Solution
# :class: dropdown
#
#     other = load_benchmark("tabletop-a", seed=1).select("left/right")
#     mini_clip, mini_llava = load_clip("mini"), load_mllm("mini")
#     compare(evaluate(mini_clip, other), evaluate(mini_llava, other, "vqascore"))
# ```
#
# **3.** Suppose you turn the grid of tokens upside down. What should that do to the left/right answers? And to on/under?
#
# ```{admonition} Solution
# :class: dropdown
# If each token says where it is, reversing the rows should hardly matter for either. If the model went by a token's row, on/under should suffer. See which is true:
#
#     with rearranged(mllm, lambda grid: grid.flip(1)):
#         upside_down = evaluate(mllm, benches["A"], "vqascore")
#     summarize(upside_down, by="relation")
# ```
#
# ## In this chapter you learned
#
# - LLaVA reads the same frozen encoder, the same patch tokens up to rounding. At mini scale, as in the paper, it gets the left/right pairs right that CLIP's score can't match.
# - In the mini models the answer depends on what the tokens say, not on their order: mirror them while the picture stays the same, and most answers stay.
# - So an erroneous agreement of two *embeddings* doesn't show that the *encoder* is blind. Why does the score fail all the same? That's the next chapter's question.
#
# **Sources**: {cite:t}`li2024erroneous`, {cite:t}`liu2024llava15`, {cite:t}`lin2024vqascore`, {cite:t}`kamath2023whatsup`, {cite:t}`vig2020mediation`, {cite:t}`meng2022locating`; full entries under [References](../book/references.md).

# %% [markdown]
# ## Going deeper
#
# ### Where does the answer travel?
#
# The side enters with the image tokens and has to come out at the prompt's last token, which predicts "Yes" or "No". To follow it, we exchange states between the two images of a pair ({term}`activation patching <Activation patching>`). LLaVA reads image 1 and a caption; after some layer, we replace some of its states by those from image 2 with the same caption, and let the layers above go on from there. How much of the difference between the two answers comes along, in log-odds of "Yes" against "No"? At 100%, LLaVA answers as if it had seen image 2.

# %% tags=["hide-input"]
from erragree_utils.measures.intervals import bootstrap_ratio
from erragree_utils.models.interventions import PLACES, patch_states

some = sides[:25]
images = [image for pair in some for image in pair.images]
others = [image for pair in some for image in reversed(pair.images)]
questions = [VQA_QUESTION.format(caption=text) for pair in some for text in pair.captions]
depth = len(mllm.model.get_decoder().layers)
layers = list(range(0, depth + 1, max(1, depth // 8)))
own, other, patched = patch_states(mllm, images, others, questions, layers)

came_along, difference = patched - own[:, None, None], other - own
of_pairs = (x.reshape(len(some), 2, *x.shape[1:]).sum(axis=1) for x in (came_along, difference))
share, low, high = bootstrap_ratio(*of_pairs)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Heat map with a row for each place whose states are exchanged (left half of the image, right half, the whole image, the question, the last token) and a column for each layer of the language model. Each cell has the share of the difference between the two images' answers that comes along."}, "figure": {"caption": "At mini scale, the answer leaves the image's tokens early, travels through those of the question, and reaches the last token only at the end."}}
plots.layer_map(
    pd.DataFrame(share.T, PLACES, [f"layer {k}" for k in layers]), "Difference that comes along"
)
plt.show()

# %% [markdown]
# Some cells are true by construction, so they check the method. At layer 0 only the image tokens differ, so they carry everything, and the question and the last token carry nothing. After the last layer, only the last token still matters.
#
# Everything in between is a measurement. In the mini LLaVA, the answer leaves the image tokens early: after the second of four layers, the question's tokens carry most of it, and the last token gets the rest only at the end. Look at the halves of the image, too. At layer 0 both count: one shows that the object has gone, the other that it has arrived.
#
# ### What can a probe read on the way?
#
# Interventions show what the answer depends on. {term}`Linear probes <Linear probe>` show what a linear classifier *could* find in the states, whether or not the model uses it, for kinds of objects that the probe hasn't met. We start with what CLIP's score and LLaVA get as input:

# %% tags=["hide-input"]
from erragree_utils.measures.probes import probe_table
from erragree_utils.models.states import mllm_states, pool_grid
from erragree_utils.scoring.captions import side_examples

every = [image for pair in sides for image in pair.images]
questions = [VQA_QUESTION.format(caption=text) for pair in sides for text in pair.captions]
# Both images of a pair are asked about the same caption, the first or by turns the second.
number, image = np.divmod(np.arange(len(every)), 2)
asked = [questions[k] for k in 2 * number + number % 2]
true = image == number % 2
trained, drawn = (
    mllm_states(mllm, every, asked, pool_grid(4), random_layers=seed) for seed in (None, 0)
)


def mean(cells: np.ndarray) -> np.ndarray:
    return cells.reshape(len(cells), 16, -1).mean(axis=1)


examples = side_examples([text for pair in sides for text in pair.captions])
groups, tokens = examples["group"], trained["vision tower"]
inputs = {
    "CLIP's embedding": clip.embed_images(every),
    "patch tokens, mean": mean(tokens),
    "patch tokens, 4 × 4 cells": tokens,
}
which_side = probe_table(inputs, examples["side"], groups)
in_percent(which_side, {"accuracy": "accuracy", "shuffled": "shuffled labels"})

# %% [markdown]
# At mini scale, a probe reads the side from each of the three, even from the mean of the tokens, which has forgotten their places: more evidence that each token says where it is. The embedding holds it as well, so it's the *score* that fails, not the vector. ([Chapter 4](04_is_it_there.ipynb) asks what such a probe is worth.)
#
# Now we go through the language model. Can a probe still read the side from the mean of the image's tokens? And can it tell from the last token whether the caption is true? As a control, we feed the same tower and projector into a language model whose layers have random weights.

# %% tags=["hide-input"]
stages = [f"layer {k}" for k in layers]
curves = {}
for model, states in {"trained": trained, "random weights": drawn}.items():
    means = {name: mean(states[f"{name} image"]) for name in stages}
    curves[f"which side, image mean ({model})"] = probe_table(means, examples["side"], groups)
    # In layer 0 the last token is the same vector for every prompt: nothing to probe.
    last = {name: states[f"{name} last"] for name in stages[1:]}
    curves[f"is the caption true, last token ({model})"] = probe_table(last, true, groups)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Accuracy of linear probes after each layer of the language model, with 95% intervals beside the chance level of 50%: which side, from the mean of the image's tokens, and whether the caption is true, from the last token; each for the trained language model and for one with random weights."}, "figure": {"caption": "At mini scale, any layers keep the side in the image's tokens, but only trained ones bring it to the last token, where it decides whether the caption is true."}}
plots.stage_curves(curves, "Accuracy on unseen pairs of kinds", chance=0.5)
plt.show()

# %% [markdown]
# The side is in the image's tokens from the start, and stays there, whatever the layers do; random weights keep it too, so the *which side* curves say little about the language model. The other curve does. The probe can tell from the last token whether the caption is true, starting at just those layers where the answer leaves the image in the heat map, and not at all where the layers are random. That's what training put there: bringing the side and the question together.

# %% [markdown]
# Here's a check on how the answer travels:

# %% tags=["finding", "hide-input"]
half = len(layers) // 2


def carried(place: str, layer: int) -> tuple[float, float, float]:
    return tuple(x[layer, PLACES.index(place)] for x in (share, low, high))


findings.show([
    claim(
        "Halfway through the language model the image's states carry less than 30% of the "
        "difference between the answers",
        carried("image", half), below=0.3,
    ),
    claim(
        "Halfway through the language model the question's states carry more than half of the "
        "difference between the answers",
        carried("question", half), above=0.5,
    ),
    claim(
        "In the last column of the map but one the image's states carry less than 60% of the "
        "difference between the answers",
        carried("image", -2), below=0.6,
    ),
])  # fmt: skip

# %% [markdown]
# And one on what a probe reads:

# %% tags=["finding", "hide-input"]
by_mean, by_truth, _, random_truth = (curve.iloc[-1] for curve in curves.values())
findings.show([
    claim(
        "A probe of the embedding finds the side of more than 80% of images",
        estimate(which_side.loc["CLIP's embedding"], "accuracy"), above=0.8,
    ),
    claim(
        "A probe of the mean of the tower's tokens finds the side of more than 70% of images",
        estimate(which_side.loc["patch tokens, mean"], "accuracy"), above=0.7,
    ),
    claim(
        "A grid of the tower's tokens tells a probe the side of more than 80% of images",
        estimate(which_side.loc["patch tokens, 4 × 4 cells"], "accuracy"), above=0.8,
    ),
    claim(
        "After the last layer the mean of the image's tokens tells the side of more than 75% of "
        "images",
        estimate(by_mean, "accuracy"), above=0.75,
    ),
    claim(
        "After the last layer a probe of the last token is right for more than 80% of captions",
        estimate(by_truth, "accuracy"), above=0.8,
    ),
    claim(
        "After layers with random weights a probe of the last token is right for fewer than 75% "
        "of captions",
        estimate(random_truth, "accuracy"), below=0.75,
    ),
])  # fmt: skip

# %% [markdown]
# ### The same in writing
#
# In the *prompted* protocol, the model writes its answer and a strict parser reads it: an answer that names neither option, or both, counts as wrong.

# %% tags=["hide-input"]
side_pairs = {name: bench.select("left/right") for name, bench in benches.items()}
written = evaluate(mllm, side_pairs, "prompted")
answers = summarize(written, by="benchmark")
unparsed = written["parsed"].eq(False).groupby(written["benchmark"]).sum()
as_percent(answers)[accuracy].assign(**{"answers not understood": unparsed})

# %% [markdown]
# ### Does the answer come from the picture?
#
# Without the image, or with another pair's images, *any* model gets half of the images right, up to the luck of the draw, since captions and sides are balanced. So these shares test the benchmark and the code. What shows that LLaVA looks at the picture is its pair accuracy, which no model could reach from words alone, and the interventions.

# %% tags=["hide-input"]
blind = evaluate(mllm, {"none": sides}, "vqascore", blind=True)
strange = evaluate(mllm, {"another pair's": sides.with_wrong_images()}, "vqascore")
control = pd.concat([blind, strange]).rename(columns={"benchmark": "images"})
means = control.groupby("images")[["correct", "score_own"]].mean()
in_percent(means, {"correct": "right", "score_own": "mean P(Yes)"})

# %% [markdown]
# ### What is left of a photograph that isn't square
#
# LLaVA's tower reads squares. LLaVA-1.5's own code pads a photograph to a square with the mean colour; the hub's processor cuts a square out of its centre, and so does CLIP's own preprocessing. Here's a landscape of the shape 4:3, and what each of the two keeps of it. (Our benchmarks' scenes are squares, so at mini scale we render another one, with its thing at the very left.)

# %% tags=["hide-input"] mystnb={"image": {"alt": "A landscape picture with a small object at its left edge. Beside it the same picture padded to a square, with bars of one colour above and below, which still has the object; and the square cut out of its centre, which has lost it."}, "figure": {"caption": "A centre crop cuts off what stands near the edge of a landscape picture; padding to a square keeps all of it, at a smaller size."}}
from erragree_utils.benchmarks.way import at_the_edge
from erragree_utils.images import central_square

picture = large[0].images[0]
if picture.width <= picture.height:
    picture = at_the_edge(scale.seed or 0)
kept = {
    "the whole picture": picture,
    "padded, as LLaVA reads it here": mllm.framed(picture),
    "cropped, as the hub's processor does": central_square(picture),
}
plots.show_images(list(kept.values()), list(kept))
plt.show()

# %% [markdown]
# Of a 4:3 picture the crop throws away an eighth on either side, and with it whatever stands there. In a test of left and right, that may be the very thing the caption speaks of. Padding keeps everything, and pays with a quarter of the square, which shows no picture. So `load_mllm` pads, as the authors do, unless you ask it for `square="crop"`.
#
# ### What a gradient says
#
# *Gradient × input* {cite:p}`shrikumar2016blackbox` gives a cheaper picture of what an answer depends on: to first order, how much does each image token move the answer towards "Yes"? Here it is for the first pair, and on average.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Four maps of patches. First the left and the right image of one pair in grey with coloured patches over them, blue where a patch speaks for the answer Yes and orange where it speaks for No. Then the mean maps of left images and of right images, without a picture behind them."}, "figure": {"caption": "At mini scale, the maps mostly show where things stand on that side of the table, and little about the single image."}}
from erragree_utils.models.saliency import answer_saliency, cover, largest

maps = answer_saliency(mllm, images, questions[: len(images)])
squares = [mllm.framed(image) for image in large[0].images]  # as the tower reads them
plots.saliency_maps(
    [*squares, None, None],
    [*maps[:2], maps[::2].mean(axis=0), maps[1::2].mean(axis=0)],
    [*large[0].captions, "mean, “left” images", "mean, “right” images"],
)
plt.show()

# %% [markdown]
# A pleasing picture may say little about a model {cite:p}`adebayo2018sanity`. So let's cover the tenth of the patches with the largest values. We compare that with covering as many patches at random, and with covering those that stand out in the map of the *next* pair's image, where the object is on the same side:

# %% tags=["hide-input"]
from erragree_utils.measures.intervals import bootstrap_mean

rng = np.random.default_rng(0)
hidden = {
    "at random": largest(rng.random(maps.shape), 0.1),
    "by the next pair's map": largest(np.roll(maps, 2, axis=0), 0.1),
    "by its own map": largest(maps, 0.1),
}
covered = {}
for name, masks in hidden.items():
    seen = [cover(mllm.framed(image), mask) for image, mask in zip(images, masks, strict=True)]
    covered[name] = some.with_images(zip(seen[::2], seen[1::2], strict=True))
answered = evaluate(mllm, covered, "vqascore")
yes = answered.pivot_table("score_own", "pair_id", "benchmark")  # the mean over a pair's images
harm = {
    name: bootstrap_mean(yes["at random"] - yes[name])
    for name in ("by the next pair's map", "by its own map")
}
lost = in_percent(pd.DataFrame(harm).T, {"mean": "P(Yes) lost beyond random"})
lost.rename_axis("patches covered")

# %% [markdown]
# If we cover what the map points to, the mini LLaVA loses far more than if we cover patches at random. But the next pair's map does most of that harm as well: for the most part, the maps tell us where objects stand on that side, and little about this image.

# %% tags=["finding", "hide-input"]
found = [
    claim(
        "Written answers, with two options, are right for more than 80% of the left/right images "
        f"of {name}",
        estimate(answers.loc[name], "individual_accuracy"), above=0.8,
        paper=reported["LLaVA", "individual"] if name == "A" else "",
    )
    for name in benches
]  # fmt: skip
for name, whose in {"by its own map": "its own", "by the next pair's map": "another"}.items():
    text = (
        f"Covering what {whose} map names costs over 15 points more P(Yes) than covering at random"
    )
    value = estimate(harm[name], "mean")
    found.append(claim(text, value, above=0.15, unit="points"))
findings.show(found)

# %% [markdown]
# ### Look for yourself
#
# With a running kernel, you can pick a pair by its outcome and its caption; the static page shows one of them.

# %% mystnb={"image": {"alt": "One left/right pair of benchmark A with the scores of both captions for each image, by CLIP and by LLaVA, as bars; each reader's verdict stands above its bars."}, "figure": {"caption": "Pair by pair, you can look up which caption each reader prefers for which image."}}
from erragree_utils.plots.widgets import PairExplorer

PairExplorer(sides, on_a, start=5)
