# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One symptom, two states: hidden or lost
#
# **Two CLIPs fail in the same way. In one of them a linear probe still reads left and right from a single embedding, in the other it hardly can; neither the cosine nor the matching tells which is which.**
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/erroneous-agreements/erroneous-agreements/blob/main/notebooks/04_is_it_there.ipynb)

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
# **You will** look for left and right inside three CLIPs, two of which fail in the same way: in the final embedding, in the class token, in the patch tokens, with ever more examples.
#
# **You will learn** what a linear probe shows and what it doesn't, which controls it needs, and how to tell a side that is *hidden* in an embedding from one that is *lost* from it.
#
# **You need** [chapter 1](01_cosine_agreement.ipynb) and [chapter 2](02_clip_matching.ipynb). To run the page at {term}`mini scale <Mini scale, paper scale>`: a CPU and about a minute. At paper scale: a network, and a GPU or patience.
#
# **At paper scale**, computed ([how](11_paper_scale.ipynb)), downloads and loading aside: T4: 2 GiB, 3 to 4 min; L4: 2 GiB, 1 min; A100 40 GB: 2 GiB, 1 to 2 min; H100 80 GB: 2 GiB, 1 min.
#
# ## The question
#
# Left and right images have nearly the same embedding (chapter 1), and matching fails (chapter 2). The paper argues that the encoder isn't blind, since LLaVA reads the same encoder and succeeds {cite:p}`li2024erroneous`. But LLaVA reads patch tokens, while CLIP's score uses the single vector at the end. Is the difference in *that* vector? The paper doesn't measure it; its reviewers asked.
#
# There are three ways to fail with the same symptom. The side may be **hidden**: the vector has it, but the text doesn't ask for it. It may be **lost** on the way to the vector, though the patch tokens still have it. Or it may be nowhere at all. To learn to tell these apart, we need models whose state we know because we made it. So at mini scale this page has three CLIPs of the same architecture, trained on the same pictures with the same loss. They differ in what their captions say about left and right:
#
# - *hidden*, the book's default (`mini`): captions place things "by the window" or "by the door", which are at the sides. When a caption says *left* or *right*, half the time it takes the view of somebody who sits across the table.
# - *lost* (`mini-lost`): the same, but nothing is placed by the window or the door. No caption gives away the side.
# - *aligned* (`mini-aligned`): *left* and *right* mean what the viewer sees. This is the positive control.
#
# After training we also turned down the left/right difference of *hidden* and *aligned*, by an invertible linear map: it raises the cosine, and keeps whatever can be read linearly. [The record](https://github.com/erroneous-agreements/erroneous-agreements/blob/main/erragree_utils/assets/organisms/README.md) says how we made them, and adds other training seeds. At paper scale there's one model, and the question is which state it's in.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display

from erragree_utils import load_benchmark, load_clip, plots, start, summarize

scale = start()
mini = scale.name == "mini"
sources = {"CLIP": scale.clip}
if mini:
    sources = {"hidden": scale.clip, "lost": "mini-lost", "aligned": "mini-aligned"}
clips = {name: load_clip(source, dtype=scale.clip_dtype) for name, source in sources.items()}
# Probes need examples, and rendered scenes come in any number.
more = {"n_sets": 200, "relation": "left/right"} if mini else {}
names = {"A": scale.whatsup_a, "B": scale.whatsup_b}
whole = {k: load_benchmark(name, **more, **scale.draw) for k, name in names.items()}
benches = {k: bench.select("left/right") for k, bench in whole.items()}

# %% [markdown]
# Every image goes through every encoder once. `encoder_states` keeps the class token and the patch tokens of each layer, and the final embedding. We average patch tokens over a grid of 4 × 4 cells, which preserves their places. As a control, we do the same with random weights in the same architecture.

# %% tags=["hide-input"]
from erragree_utils.models.states import encoder_states, pool_grid, untrained

images = {k: [i for pair in b for i in pair.images] for k, b in benches.items()}
captions = {k: [c for pair in b for c in pair.captions] for k, b in benches.items()}
towers = clips | {"untrained": untrained(next(iter(clips.values())))}
states, pairs, texts = {}, {}, {}
for k, bench in benches.items():
    for name, tower in towers.items():
        states[k, name] = encoder_states(tower, images[k], pool_grid(4))
        pairs[k, name] = states[k, name]["embedding"].reshape(len(bench), 2, -1)
    for name, clip in clips.items():
        texts[k, name] = clip.embed_texts(captions[k]).reshape(len(bench), 2, -1)

# %% [markdown]
# ## One symptom: alike in cosine, alike in failing
#
# First, let's repeat the findings of chapters 1 and 2. (At mini scale we take more pairs than they did, so the numbers differ a little.) In per cent, guessing would give 50 for images and 25 for pairs:

# %% tags=["hide-input"]
from erragree_utils.measures.accuracy import as_percent, in_percent
from erragree_utils.measures.agreement import cosine
from erragree_utils.measures.intervals import bootstrap_mean
from erragree_utils.measures.matching import matching_table

matched = pd.concat(
    {key: matching_table(pairs[key], texts[key]) for key in texts}, names=["benchmark", "model"]
).reset_index(["benchmark", "model"])
before = summarize(matched, by=["benchmark", "model"])
alike = {key: bootstrap_mean(cosine(pairs[key][:, 0], pairs[key][:, 1])) for key in texts}
alike = pd.DataFrame(alike).T.rename_axis(["benchmark", "model"])
shown = as_percent(before)[["individual accuracy", "pair accuracy"]]
shown.assign(**{"mean cosine": alike["mean"].map("{:.4f}".format)})

# %% [markdown]
# At mini scale, *hidden* and *lost* show the same symptom: a cosine above 0.99, and a pair accuracy far below the 25% of guessing. Nothing in these two numbers says which of them still holds the side. *Aligned* matches most pairs, at a cosine that's hardly lower.
#
# A cosine of 0.99 is an angle of about 8°, and a plane can separate any two different points. What matters is whether a *single* plane separates left images from right ones, for pairs of objects it has never seen.

# %% tags=["hide-input"] mystnb={"image": {"alt": "A wire sphere with two dots close to each other, left and right, at the angle that the mean cosine of benchmark A gives, and a plane through the centre that passes between them."}, "figure": {"caption": "However close two points are, a plane can pass between them: a cosine near 1 doesn't keep a linear reader from telling left from right."}}
plots.sphere_plane(alike["mean"].iloc[0])
plt.show()

# %% [markdown]
# ```{admonition} Predict before you go on
# :class: predict
# We train a linear probe on the final embedding of one image, and test it on pairs of objects that it wasn't trained on. What accuracy do you expect for *hidden*, *lost* and *aligned*? For their patch tokens? For plain pixels, and for an encoder that has learned nothing?
# ```
#
# ## A probe reads the side in *hidden*, and hardly in *lost*
#
# A {term}`linear probe <Linear probe>` is logistic regression on a frozen representation {cite:p}`alain2017probes`. Three rules make it honest:
#
# - **Unseen object pairs.** All images of the same two kinds of objects are in the same fold.
# - **A penalty chosen by log loss**, not by the number of right answers. Inside the training folds, we take the strongest penalty whose log loss on held-out kinds is within one standard error of the best, and we run every fit until it converges.
# - **A label that the probe's input determines.** In A the label is the side of the small object; the other one is furniture. In B the caption may name either object, so we tell the probe which: we multiply the image's features by the *difference of the two objects' text embeddings*, so that one rule serves all objects.
#
# "Two compared" subtracts from each embedding the mean of its pair's two images. That removes what the pair has in common, so it's an easier question: *which of these two is the left one?* In the table, compare the rows "one image" of the models, and then the column of shuffled labels, where a probe has nothing to learn:

# %% tags=["hide-input"]
from erragree_utils.measures.probes import learning_curve, probe_table
from erragree_utils.scoring.captions import side_examples
from erragree_utils.scoring.embeddings import asked_about

examples = {k: side_examples(captions[k]) for k in benches}
labels = {k: (table["side"], table["group"]) for k, table in examples.items()}
# In B the probe is told which object is meant; the controls are told by the first model's words.
told = {("A", name): None for name in towers}
told |= {("B", name): asked_about(clip, examples["B"]) for name, clip in clips.items()}
told["B", "untrained"] = told["B", next(iter(clips))]

last = len(next(iter(clips.values())).model.visual.transformer.resblocks)
found = {}
for (k, name), x in pairs.items():
    kinds = {
        "one image": x,
        "two compared": x - x.mean(axis=1, keepdims=True),
        "patch tokens": states[k, name][f"layer {last - 1} patches"],
    }
    kinds = {kind: rows.reshape(len(images[k]), -1) for kind, rows in kinds.items()}
    if name == "untrained":
        del kinds["two compared"]
        pixels = [np.asarray(image.resize((8, 8)), np.float32).ravel() for image in images[k]]
        kinds["pixels, 8 × 8"] = np.stack(pixels)
    found[k, name] = probe_table(kinds, *labels[k], condition=told[k, name])
linear = pd.concat(found, names=["benchmark", "model", "probe reads"])
in_percent(linear, {"accuracy": "accuracy", "shuffled": "shuffled labels"})

# %% mystnb={"image": {"alt": "Accuracy of linear probes with 95% intervals. On benchmark A one final embedding of hidden and of aligned is read nearly always and that of lost little better than by chance; comparing two images, lost lies between. On B the order is the same, with hidden and aligned between 80 and 95%. Patch tokens are near 100% everywhere, also untrained, and pixels nearly so. Crosses for shuffled labels lie near 50%."}, "figure": {"caption": "At mini scale, a probe reads the side from one embedding of *hidden* and hardly from one of *lost*, though the patch tokens of both have it."}}
plots.probe_bars(linear)
plt.show()

# %% [markdown]
# At mini scale, one symptom has two causes. **The embedding of *hidden* holds the side of nearly every single image in A, and of most images in B; that of *lost* doesn't.** A trace remains in *lost*, and it shows when you compare the two images of a pair; in a single image, it drowns in everything else that varies. The patch tokens have the side in every model.
#
# The controls have something to say, too. With shuffled labels, the probe stays near chance. The patch tokens of an encoder that has learned nothing do nearly as well as trained ones, and so do pixels: at the bottom, the place of a thing is trivially there, and nobody has to learn it. What has to be learned is to carry it to the top.
#
# Is a probe at chance just a bad probe? Does the side get lost early or late? Were there too few examples? [Going deeper](#going-deeper), at the end of the page, has the answers.

# %% [markdown]
# ## The probe tells the two states apart, and the cosine can't
#
# Each model now has three numbers: how alike its left and right images are, whether its texts match them, and whether a probe can read the side from one image. At mini scale, each point is one training run. There are three seeds of each recipe, measured once on benchmarks of their own (`measures.csv` beside the record above). The empty marker is the published CLIP, whose probe nobody has reported; at paper scale this page adds it.

# %% tags=["hide-input"]
from erragree_utils.models import ASSETS
from erragree_utils.paper import published

table = pd.read_csv(ASSETS / "organisms" / "measures.csv")
table["benchmark"] = table["benchmark"].str[-1].str.upper()
points = table.pivot_table("value", ["organism", "seed", "benchmark"], "metric", sort=False)
points = points.rename(columns={"probe single": "probe"}).rename_axis(
    ["model", "seed", "benchmark"]
)
points = points.reset_index()[["model", "seed", "benchmark", "cosine", "probe", "pair"]]
if not mini:
    ours = before["pair_accuracy"].rename("pair").to_frame().join(alike["mean"].rename("cosine"))
    ours["probe"] = linear.xs("one image", level=2)["accuracy"]
    points = pd.concat([points, ours.rename_axis(["benchmark", "model"]).reset_index()])

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels with pair accuracy upwards. Left, against the cosine: all models lie above 0.98, hidden and lost close together, far below chance, with the empty marker of the published CLIP beside them. Right, against the probe of one image: lost at the left, hidden at the right, both at the bottom; aligned at the right and mostly at the top; a dotted line across marks the published CLIP, whose probe is not known."}, "figure": {"caption": "By the cosine, *hidden* and *lost* lie close together; by the probe they're far apart. The same symptom has at least two states."}}
paper = {"reader": "CLIP ViT-L/14-336", "relation": "left/right", "benchmark": "whatsup-a"}
known = published(kind="cosine", **paper), published(kind="pair", **paper)
plots.three_states(points, {"ViT-L/14-336, A": tuple(number.value for number in known)})
plt.show()

# %% [markdown]
# On the left, by the cosine, *hidden* and *lost* lie close together, far from where most pairs are matched, and the published CLIP lies next to them. On the right, by the probe, they fall apart. That's the point of this chapter in one picture.
#
# But doesn't the cosine tell them apart after all? In the left panel, those of *lost* are a little higher throughout. That's chance, or rather our choice: an invertible linear map moves a cosine wherever we like, and leaves what a probe can read. Let's turn down the directions in which left and right differ in *hidden*, as we find them in B, more and more, and look at A:

# %% tags=["hide-input"]
from erragree_utils.measures.inputs import unit_rows
from erragree_utils.measures.repair import turn_down

further = {}
if mini:
    for strength in (0, 1, 10):
        rows = unit_rows(pairs["A", "hidden"] @ turn_down(pairs["B", "hidden"], strength))
        flat = {"one image": rows.reshape(len(images["A"]), -1)}
        right = summarize(matching_table(rows, texts["A", "hidden"])).loc["all"]
        further[strength] = {
            **probe_table(flat, *labels["A"], shuffles=0).loc["one image"],
            **right.filter(like="pair_accuracy"), "cosine": cosine(rows[:, 0], rows[:, 1]).mean(),
        }  # fmt: skip
    further = pd.DataFrame(further).T.rename_axis("turned down by")
    moved = in_percent(further, {"pair_accuracy": "pair accuracy", "accuracy": "probe, one image"})
    moved.insert(0, "mean cosine", further["cosine"].map("{:.4f}".format))
    display(moved)

# %% [markdown]
# At mini scale, the most strongly changed *hidden* is more alike between left and right than *lost* is. It matches as few pairs as before, and a probe reads the side from one image, if anything better. So no value of the cosine says that a difference is gone.
#
# ```{admonition} Key idea
# :class: key-idea
# A cosine near 1 with failing matching is a symptom of at least two states, and it takes another measurement to tell which.
# ```
#
# (How well *aligned* matches B depends on its training's seed: the shipped one does it best of three, as [the record](https://github.com/erroneous-agreements/erroneous-agreements/blob/main/erragree_utils/assets/organisms/README.md) says.)
#
# ## What we found

# %% tags=["finding", "hide-input"]
from functools import partial

from erragree_utils import findings
from erragree_utils.findings import estimate, finding

claim = partial(finding, seed=scale.seed)
name = next(iter(clips))
question = "How often does a linear probe read left or right from one embedding?"
shown = [
    claim("Left and right images of A have a mean cosine above 0.98",
          estimate(alike.loc[("A", name)], "mean"), above=0.98, unit="cosine", paper=known[0]),
]  # fmt: skip
for k in benches:
    number = published(**paper | {"benchmark": f"whatsup-{k.lower()}", "kind": "pair"})
    shown.append(claim(
        f"CLIP matches both images of a pair less often than guessing would, on {k}",
        estimate(before.loc[(k, name)], "pair_accuracy"), below=0.25, paper=number))  # fmt: skip
for k in benches if mini else ():
    for name in ("hidden", "lost"):
        shown.append(claim(
            f"In the {name} model left and right images have a mean cosine above 0.99, on {k}",
            estimate(alike.loc[(k, name)], "mean"), above=0.99, unit="cosine"))  # fmt: skip
    accuracy = {key: estimate(row, "accuracy") for key, row in linear.loc[k].iterrows()}
    shown += [
        claim(f"The lost model matches fewer pairs than guessing would, on {k}",
              estimate(before.loc[(k, "lost")], "pair_accuracy"), below=0.25),
        claim(f"The aligned model matches most pairs, on {k}",
              estimate(before.loc[(k, "aligned")], "pair_accuracy"), above=0.5),
        claim(f"A probe reads the side from one embedding of the hidden model, on {k}",
              accuracy["hidden", "one image"], above={"A": 0.85, "B": 0.7}[k],
              question=question if k == "A" else "", who="hidden", chance=0.5),
        claim(f"A probe of one embedding of the lost model is right for less than 65%, on {k}",
              accuracy["lost", "one image"], below=0.65,
              question=question if k == "A" else "", who="lost", chance=0.5),
        claim(f"A probe comparing two embeddings of the lost model stays below 90%, on {k}",
              accuracy["lost", "two compared"], below=0.9),
        claim(f"A probe reads the side from the lost model's patch tokens, on {k}",
              accuracy["lost", "patch tokens"], above=0.8),
        claim(f"A probe reads the side from an untrained model's patch tokens, too, on {k}",
              accuracy["untrained", "patch tokens"], above=0.8),
        claim(f"A probe reads the side from 8 × 8 pixels, too, on {k}",
              accuracy["untrained", "pixels, 8 × 8"], above=0.8),
        claim(f"A probe of an untrained final embedding is right for less than 75%, on {k}",
              accuracy["untrained", "one image"], below=0.75),
    ]  # fmt: skip
if mini:
    most = further.loc[10]
    shown += [
        claim("Turned down until its left/right cosine exceeds that of the lost model, the hidden "
              "model still lets a probe read the side from one image, on A",
              estimate(most, "accuracy"), above=0.85),
        claim("Turned down like that, the hidden model's left/right cosine is above that of lost, "
              "on A", most["cosine"] - alike.loc[("A", "lost"), "mean"], above=0, unit="cosine"),
    ]  # fmt: skip
findings.show(shown)

# %% [markdown]
# ## What it means
#
# An erroneous agreement could have three explanations. At mini scale:
#
# - **The encoder is blind**: no, not in any of the three models. A linear probe can nearly always read the side from the patch tokens, for pairs of objects it hasn't seen.
# - **The side is in the embedding, and matching misses it**: this is *hidden*. Its cosine and its matching show the same symptom as the next case.
# - **The side is lost from the embedding**: this is *lost*. What remains is a trace that can hardly be read in a single image.
#
# So the paper's argument by elimination, that LLaVA succeeds with the same encoder, rules out the first explanation. It can't tell the other two apart, because LLaVA doesn't read that vector. Is OpenAI's CLIP more like *hidden* or like *lost*? Mini models can't tell; this page measures it at paper scale. What they do show is that either state could be behind CLIP's numbers, and that the contrastive loss rules out neither: the captions made the difference.
#
# Why does matching miss it in *hidden*? [Chapter 5](05_does_the_text_ask.ipynb) looks at the text's part in this.
#
# ## What could be wrong
#
# - **A probe that fails proves little.** Another kind of probe, or many more examples, might succeed. That's why we measure how strong a common side has to be before it's found, and draw the learning curve.
# - **A probe that succeeds proves little, too.** The untrained encoder's patch tokens and the pixels do nearly as well: a probe finds what can be read, and the model may not use it {cite:p}`hewitt2019control`.
# - **Parameters.** Patch tokens give the probe far more parameters than the embedding does. But with just as many parameters, it reads shuffled labels no better than chance.
# - **Comparing two is an easier question.** It uses both images of a pair, so don't compare it with single-image numbers.
# - **Made to order.** The models' states follow from captions that we wrote. For *hidden* and *aligned*, we also turned down the left/right difference after training, by an invertible map. That raises the cosine but keeps whatever can be read linearly. Nothing says that such models arise on their own.
# - **Seeds.** Most measurements here are of one training run each; the picture above has three.
#
# ## Exercises
#
# **1.** Use folds that ignore the objects (`groups=np.arange(n)`). Why could the accuracy rise even if the probe learns nothing about sides?
#
# ```{admonition} Solution
# :class: dropdown
# Then images of the same objects appear in both training and test folds, so the probe can memorise any label that goes with the objects. Here, left and right are balanced within every set, so there's little to gain; a benchmark in which mugs are mostly on the left would leak.
# ```
#
# **2.** Is the embedding of *lost* just curved? Try a nonlinear probe: `probe(features, *labels["A"], kind="gaussian")` is logistic regression on a Gaussian kernel.
#
# ```{admonition} Solution
# :class: dropdown
#
#     features = states["A", "lost"]["embedding"]
#     probe(features, *labels["A"], kind="gaussian")[["accuracy", "accuracy_low", "accuracy_high"]]
#
# Compare its interval with that of the linear probe in the table of probes. A curved boundary would show as a higher accuracy.
# ```
#
# **3.** Average the patch tokens over 2 × 2 cells instead of 4 × 4. How coarse can places be?
#
# ```{admonition} Solution
# :class: dropdown
#
#     key = "A", "lost"
#     coarse = encoder_states(towers["lost"], images["A"], pool_grid(2))[f"layer {last - 1} patches"]
#     probe_table({"2 × 2": coarse}, *labels["A"])
#
# Two columns are enough for two sides.
# ```
#
# ## In this chapter you learned
#
# - With a cosine near 1 and failing matching, the side may be perfectly readable, or it may be gone.
# - In *hidden*, a linear probe reads the side of unseen object pairs from one final embedding; in *lost* it hardly does, though the patch tokens have it.
# - A probe at chance means something only if you know its power: how strong a side would it have found?
# - For the published CLIP we know two of three numbers. Nobody has reported the third.
#
# **Sources**: {cite:t}`li2024erroneous`, {cite:t}`alain2017probes`, {cite:t}`hewitt2019control`; full entries under [References](../book/references.md).

# %% [markdown]
# ## Going deeper
#
# ### The probe finds a side that we plant
#
# A probe at chance may be a bad probe. So we plant a side in the embeddings of *lost* (at paper scale, of CLIP) along one random direction: first as long as the existing difference between the two images, then half as long, and so on. A probe with any power must find the first one. Two more rows test what kind of thing it finds. In one, we rotate the whole space at random after planting the side. In the other, the side points in a *different* direction for each pair of kinds. That side is there, but a rule that works for other objects can't find it.

# %% tags=["hide-input"]
from scipy.stats import ortho_group

from erragree_utils.measures.repair import plant_side

key = "A", list(clips)[1 if mini else 0]
by_pair = examples["A"]["group"][::2]
x, length = pairs[key], np.linalg.norm(pairs[key][:, 0] - pairs[key][:, 1], axis=1).mean()
planted = {f"{s:.4g}": plant_side(x, texts[key], s * length) for s in (1, 0.5, 0.25, 0.125, 0.0625)}
planted |= {"0": x}
turn = ortho_group.rvs(x.shape[-1], random_state=0)
planted["0.5, rotated"] = planted["0.5"] @ turn
planted["1, each kind its own"] = plant_side(x, texts[key], length, by_pair)
flat = {name: rows.reshape(len(images["A"]), -1) for name, rows in planted.items()}
power = probe_table(flat, *labels["A"], shuffles=0)
apart = {name: cosine(rows[:, 0], rows[:, 1]).mean() for name, rows in planted.items()}
power.insert(0, "cosine", pd.Series(apart))
by_length = in_percent(power, {"accuracy": "accuracy"}).rename_axis("length of the planted side")
by_length.assign(**{"mean cosine": power["cosine"].map("{:.4f}".format)})

# %% tags=["hide-input"] mystnb={"image": {"alt": "Accuracy of a linear probe of one image against the length of the planted side, in units of the mean difference between the two images: near 100% at full length and above 90% at half of it, about three quarters at a quarter, and at the chance line at zero."}, "figure": {"caption": "At mini scale, the probe would have noticed a side a quarter as long as the images' own difference, so what *lost* keeps of the side in common is shorter than that."}}
strengths = [name for name in planted if "," not in name][::-1]
drawn = {"one image, side planted": power.loc[strengths]}
xlabel = "Length of the planted side / difference of the two images"
plots.stage_curves(drawn, "Accuracy", chance=0.5, xlabel=xlabel)
plt.show()

# %% [markdown]
# So we can say how lost "lost" is. A common side about a quarter as long as the images' own difference would have shown in a single image, at a cosine that's the same to the third digit. A side in a different direction for each kind of object wouldn't have.
#
# ### The class token of *lost* hardly takes the side up in any layer
#
# Here's the same probe for A after each block, on each model's class token and on the patch tokens in their places. For a deep encoder we take about eight layers, counted from the top, and always the second to last, which LLaVA reads. To save time, we use at most 150 pairs.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Accuracy of linear probes on benchmark A for each layer: the class tokens of hidden and aligned rise to nearly 100% in the upper layers, that of lost stays near chance in all of them, and its patch tokens in places are near 100% throughout."}, "figure": {"caption": "At mini scale, the class tokens of *hidden* and *aligned* pick up the side on their way up; that of *lost* hardly does in any layer, though its patch tokens have it throughout."}}
steps = sorted({*range(last, 0, -max(1, last // 8)), last - 1})
few = min(300, len(images["A"]))
side, group = (column[:few] for column in labels["A"])
stages = {}
for name in clips:
    layers = {f"layer {n}": states["A", name][f"layer {n} CLS"][:few] for n in steps}
    layers["embedding"] = states["A", name]["embedding"][:few]
    stages[f"{name}: class token"] = probe_table(layers, side, group, shuffles=0)
grid = {f"layer {n}": states[key][f"layer {n} patches"][:few] for n in steps}
stages[f"{key[1]}: patch tokens in places"] = probe_table(grid, side, group, shuffles=0)
plots.stage_curves(stages, "Accuracy on unseen object pairs", chance=0.5)
plt.show()

# %% [markdown]
# At mini scale, the class tokens of *hidden* and *aligned* pick up the side as they rise through the layers. That of *lost* hardly does in any layer, though the patch tokens that it attends to have it all the way. [Chapter 3](03_same_encoder_new_reader.ipynb) uses the same probe to follow the patch tokens further, into LLaVA's projector and language model.
#
# ### Many more examples hardly help
#
# Perhaps 160 pairs, four fifths of those above, are too few to learn from. We can render thousands of pairs, so at mini scale the curves below go on to many times as many, and test on kinds of objects that aren't among them. That takes too long for a page, so we recorded them; `python -m erragree_utils.training.curves` reproduces them. At paper scale the curve is drawn live, as far as What'sUp reaches.

# %% tags=["hide-input"]
if mini:
    table = pd.read_csv(ASSETS / "organisms" / "curves.csv")
    table["benchmark"] = table["benchmark"].map({name: k for k, name in names.items()})
    recorded = dict(
        list(table.set_index("pairs").groupby(["benchmark", "organism", "probe"], sort=False))
    )
else:
    sizes = [n for n in (40, 120, 480) if n <= 0.8 * len(images["A"])] or [len(images["A"]) // 2]
    units = np.arange(len(images["A"])) // 2
    curve = learning_curve(states[key]["embedding"], *labels["A"], units, sizes)
    recorded = {("A", key[1], "one image"): curve.set_index((curve.index / 2).astype(int))}

# %% tags=["hide-input"] mystnb={"image": {"alt": "Accuracy on unseen object pairs of benchmark A against the number of training pairs: one image of hidden and aligned near 100% from the start, one image of lost near 55%, two images of lost compared between."}, "figure": {"caption": "At mini scale, more examples don't make up for what's missing: one image of *lost* stays far below *hidden* and *aligned*, however many pairs the probe learns from."}}
for k in dict.fromkeys(benchmark for benchmark, *_ in recorded):
    shown = {f"{n}, {p}": t for (b, n, p), t in recorded.items() if b == k and p == "one image"}
    if mini:
        shown["lost, two compared"] = recorded[k, "lost", "two compared"]
    ylabel = f"{k}: accuracy, unseen object pairs"
    plots.stage_curves(shown, ylabel, chance=0.5, xlabel="Pairs to learn from")
    plt.show()

# %% [markdown]
# At mini scale, a hundred pairs are enough for *hidden* and *aligned* on A; on B, where the probe has more to learn, their curves go on rising towards 100%. For one image of *lost*, the curve creeps up by a few points, and on A, which goes on to ten thousand pairs, it's flat from three thousand on: that's a plateau, not a lack of examples. For two images of *lost* compared, it rises for longer, to about 80%. The trace is real, but it shows clearly only once you subtract the pair's mean.
#
# So the power of the probe, the layers and the recorded curve support this much (at mini scale only):

# %% tags=["finding", "hide-input"]
shown = []
if mini:
    tokens = stages["lost: class token"]
    shown = [
        claim("A planted side half as long as the images' difference is read from one image",
              estimate(power.loc["0.5"], "accuracy"), above=0.8),
        claim("A random rotation of the embedding takes nothing from the planted side",
              estimate(power.loc["0.5, rotated"], "accuracy"), above=0.8),
        claim("A side that each pair of kinds has in a direction of its own is not found",
              estimate(power.loc["1, each kind its own"], "accuracy"), below=0.65),
        claim("In no layer is a probe of the lost model's class token right for 75%, on A",
              estimate(tokens.loc[tokens["accuracy_high"].idxmax()], "accuracy"), below=0.75),
        claim("A probe reads the side from the hidden model's class token in the last layer, on A",
              estimate(stages["hidden: class token"].loc[f"layer {last}"], "accuracy"), above=0.8),
    ]  # fmt: skip
    for k in dict.fromkeys(benchmark for benchmark, *_ in recorded):
        most = recorded[k, "lost", "one image"].iloc[-1]
        shown.append(finding(
            f"With the most pairs on record a probe of one embedding of the lost model is right "
            f"for less than 70%, on {k}", estimate(most, "accuracy"), below=0.7))  # fmt: skip
findings.show(shown) if shown else None
